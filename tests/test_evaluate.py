"""The protocols of the literature, to the printed digit, and what evaluation refuses."""

import numpy as np
import pytest
from PIL import Image
from tests.tools import identity_weights

from msrn.degrade import to_uint8
from msrn.engine import Restorer
from msrn.errors import ImageError, UsageError
from msrn.evaluate import evaluate, load_pair, score

BASELINES = [
    ("sr", 2, "set5", 33.66, 0.9299),
    ("sr", 3, "set5", 30.39, 0.8682),
    ("sr", 4, "set5", 28.42, 0.8104),
    ("jpeg", 10, "classic5", 27.82, 0.7595),
    ("jpeg", 20, "classic5", 30.12, 0.8344),
]


@pytest.mark.parametrize(("task", "level", "folder", "psnr", "ssim"), BASELINES)
def test_baselines_equal_the_published_ones(data_root, task, level, folder, psnr, ssim):
    result = evaluate(task, level, [data_root / folder])
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
    result = evaluate(task, level, [folder], Restorer(identity_weights(task), device="cpu"))
    assert result["mean"] == pytest.approx(result["baseline"], abs=1e-4)
    assert {"task", "level", "data", "images", "mean", "baseline", "protocol", "weights"} == set(result)


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
        evaluate(task, level, [folder])


def test_weights_for_another_task_are_refused(folder):
    with pytest.raises(UsageError, match="'jpeg', not for 'sr'"):
        evaluate("sr", 2, [folder], Restorer(identity_weights("jpeg"), device="cpu"))


def test_missing_empty_and_broken_inputs_are_named(folder, tmp_path_factory):
    with pytest.raises(UsageError, match="no such image folder"):
        evaluate("sr", 2, [folder / "nowhere"])
    with pytest.raises(UsageError, match="no images"):
        evaluate("sr", 2, [tmp_path_factory.mktemp("empty")])
    (folder / "broken.png").write_bytes(b"not an image")
    with pytest.raises(ImageError, match=r"broken\.png"):
        evaluate("sr", 2, [folder])
