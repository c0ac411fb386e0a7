"""The protocols of the literature, to the printed digit, and what evaluation refuses."""

import numpy as np
import pytest
from PIL import Image
from tests.tools import identity_weights, random_weights

from msrn import files
from msrn.degrade import to_uint8
from msrn.engine import Restorer
from msrn.errors import ImageError, UsageError
from msrn.evaluate import compare, evaluate, load_pair, score
from msrn.methods import CallableMethod, FolderMethod, WeightsMethod
from msrn.network import MSRNConfig
from msrn.picture import Picture

BASELINES = [
    ("sr", 2, "set5", 33.66, 0.9299),
    ("sr", 3, "set5", 30.39, 0.8682),
    ("sr", 4, "set5", 28.42, 0.8104),
    ("jpeg", 10, "classic5", 27.82, 0.7595),
    ("jpeg", 20, "classic5", 30.12, 0.8344),
]


@pytest.mark.parametrize(("task", "level", "folder", "psnr", "ssim"), BASELINES)
def test_baselines_equal_the_published_ones(data_root, task, level, folder, psnr, ssim):
    result = evaluate(task, level, data_root / folder)
    assert round(result["mean"]["psnr"], 2) == psnr
    assert round(result["mean"]["ssim"], 4) == ssim
    assert result["mean"] == result["baseline"]
    assert len(result["images"]) == 5


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(3):
        smooth = np.asarray(Image.fromarray(rng.integers(0, 255, (6, 7), dtype=np.uint8)).resize((43, 37)))
        Image.fromarray(smooth).save(tmp_path / f"image{index}.png")
    return tmp_path


@pytest.mark.parametrize(("task", "level"), [("sr", 2), ("sr", 3), ("denoise", 25), ("jpeg", 15)])
def test_a_network_that_returns_its_input_scores_as_the_baseline(folder, task, level):
    result = evaluate(task, level, folder, WeightsMethod(Restorer(identity_weights(task), device="cpu")))
    assert result["mean"] == pytest.approx(result["baseline"], abs=1e-4)
    contract = {"task", "level", "data", "images", "mean", "baseline", "protocol", "weights"}
    assert contract <= set(result)
    assert result["data"] == folder.name
    assert result["failures"] == []


def test_ten_lines_of_numpy_give_the_same_row(folder):
    """Independent of the package's metrics and rounding."""
    for path in sorted(folder.iterdir()):
        pair = load_pair(path, "sr", 3)
        ours = score(pair.degraded, pair.clean, "sr", 3)["psnr"]
        image, truth = (np.uint8(np.clip(np.floor(x[0] * 255 + 0.5), 0, 255)).astype(float) for x in pair)
        error = (image - truth)[3:-3, 3:-3]
        assert ours == pytest.approx(20 * np.log10(255 / np.sqrt(np.mean(error**2))), abs=1e-9)


def test_noise_depends_on_the_name_alone_and_is_neither_clipped_nor_rounded(folder):
    first, again = (load_pair(folder / "image0.png", "denoise", 50) for _ in range(2))
    assert np.array_equal(first.degraded, again.degraded)
    assert first.degraded.min() < 0
    assert np.abs(first.degraded * 255 - to_uint8(first.degraded)).max() > 0.1
    renamed = (folder / "image0.png").rename(folder / "other.png")
    assert not np.array_equal(load_pair(renamed, "denoise", 50).degraded, first.degraded)
    half = load_pair(renamed, "denoise", 25)
    whole = load_pair(renamed, "denoise", 50)
    np.testing.assert_allclose((whole.degraded - whole.clean) / 2, half.degraded - half.clean, atol=1e-12)


def test_super_resolution_crops_to_whole_multiples(folder):
    assert load_pair(folder / "image0.png", "sr", 4).clean.shape == (1, 36, 40)


@pytest.mark.parametrize(
    ("task", "level"), [("sr", 1), ("sr", 2.5), ("denoise", -1), ("denoise", float("nan")), ("jpeg", 0), ("jpeg", 101)]
)
def test_impossible_levels_are_refused(folder, task, level):
    with pytest.raises(UsageError):
        evaluate(task, level, folder)


def test_weights_for_another_task_are_refused(folder):
    with pytest.raises(UsageError, match="'jpeg', not for 'sr'"):
        evaluate("sr", 2, folder, WeightsMethod(Restorer(identity_weights("jpeg"), device="cpu")))


def test_missing_and_empty_folders_are_named(folder, tmp_path_factory):
    with pytest.raises(UsageError, match="no such image folder"):
        evaluate("sr", 2, folder / "nowhere")
    with pytest.raises(UsageError, match="no images"):
        evaluate("sr", 2, tmp_path_factory.mktemp("empty"))


def test_an_image_that_cannot_be_scored_costs_only_its_row(folder):
    (folder / "broken.png").write_bytes(b"not an image")
    Image.new("L", (8, 8)).save(folder / "tiny.png")
    result = evaluate("sr", 2, folder)
    assert [row["name"] for row in result["images"]] == ["image0.png", "image1.png", "image2.png"]
    assert [row["name"] for row in result["failures"]] == ["broken.png", "tiny.png"]
    assert "11×11" in result["failures"][1]["error"]
    for path in folder.glob("image*"):
        path.unlink()
    with pytest.raises(ImageError, match=r"broken\.png"):
        evaluate("sr", 2, folder)


def test_saved_planes_score_the_same_as_a_folder_of_restored_images(folder, tmp_path_factory):
    saved = tmp_path_factory.mktemp("saved")
    method = WeightsMethod(Restorer(random_weights("sr", MSRNConfig(1, 1, 4)), device="cpu"))

    def save(path, degraded, restored, clean):
        files.write(Picture(restored.astype(np.float32)), saved / path.name)

    first = evaluate("sr", 3, folder, method, observe=save)
    second = evaluate("sr", 3, folder, FolderMethod(saved, "studio"))
    assert second["mean"] == first["mean"]  # the protocol rounds to 8 bits, as the files do


def test_missing_and_wrongly_sized_restored_images_are_failures(folder, tmp_path_factory):
    saved = tmp_path_factory.mktemp("saved")
    Image.new("L", (42, 36)).save(saved / "image0.png")
    Image.new("L", (41, 36)).save(saved / "image1.png")
    result = evaluate("sr", 3, folder, FolderMethod(saved, "studio"))
    assert len(result["images"]) == 1
    assert "41×36" in result["failures"][0]["error"]
    assert "no restored image for image2.png" in result["failures"][1]["error"]


def halve(plane):
    return plane / 2


def not_finite(plane):
    return plane * np.nan


def too_small(plane):
    return plane[1:]


def test_any_python_function_can_be_scored(folder):
    result = evaluate("denoise", 10, folder, CallableMethod("tests.test_evaluate:halve"))
    assert result["mean"]["psnr"] < result["baseline"]["psnr"]
    for function, words in (("not_finite", "not finite"), ("too_small", "returned shape")):
        with pytest.raises(ImageError, match=words):
            evaluate("denoise", 10, folder, CallableMethod(f"tests.test_evaluate:{function}"))
    for wrong in ("nowhere:f", "tests.test_evaluate:nothing", "tests.test_evaluate", ""):
        with pytest.raises(UsageError, match="module:function"):
            CallableMethod(wrong)


def test_differences_come_with_an_interval_that_covers_them(folder):
    plain = evaluate("denoise", 30, folder)
    better = {**plain, "images": [{**row, "psnr": row["psnr"] + 1 + k} for k, row in enumerate(plain["images"])]}
    verdict = compare(better, plain)
    assert verdict["difference"] == pytest.approx(2)
    assert 1 <= verdict["low"] < 2 < verdict["high"] <= 3
    assert compare(plain, plain) == {"difference": 0, "low": 0, "high": 0}
    with pytest.raises(UsageError, match="one task"):
        compare(plain, evaluate("denoise", 20, folder))
