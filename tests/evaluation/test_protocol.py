"""The protocols of the literature, to the printed digit, and what evaluation refuses."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.networks import identity_weights, random_weights

from msrn import images
from msrn.errors import ImageError, UsageError, WeightsError
from msrn.evaluation.methods import CallableMethod, FolderMethod, OnnxMethod, TiledMethod, WeightsMethod
from msrn.evaluation.protocol import (
    AUTHORS_HALO,
    AUTHORS_TILE,
    as_picture,
    compare,
    compare_with_first,
    evaluate,
    load_pair,
    set_name,
)
from msrn.evaluation.results import Difference, Evaluation, ImageScores, Scores
from msrn.images import degradations
from msrn.images.color import rgb_to_ycbcr
from msrn.images.picture import to_uint8
from msrn.network.config import MSRNConfig
from msrn.restoration.restorer import Restorer
from msrn.restoration.tiles import plan

BASELINES = [
    ("sr", 2, "set5", 33.66, 0.9299),
    ("sr", 3, "set5", 30.39, 0.8682),
    ("sr", 4, "set5", 28.42, 0.8104),
    ("jpeg", 10, "classic5", 27.82, 0.7595),
    ("jpeg", 20, "classic5", 30.12, 0.8344),
]


@pytest.mark.parametrize(("task", "level", "folder", "psnr", "ssim"), BASELINES)
def test_baselines_equal_those_of_the_literature(data_root, task, level, folder, psnr, ssim):
    result = evaluate(task, level, data_root / folder)
    assert round(result.mean.psnr, 2) == psnr
    assert round(result.mean.ssim, 4) == ssim
    assert result.mean == result.baseline
    assert len(result.images) == 5


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
    assert result.mean.named() == pytest.approx(result.baseline.named(), abs=1e-4)
    assert (result.task, result.level, result.data) == (task, level, folder.name)
    assert result.failures == ()


def save_to(folder, task):
    return lambda path, *planes: images.write(as_picture(planes[1], task), folder / f"{path.stem}.png")


def checker_ssim(x, y):
    """Straight from the definition, window by window, sharing nothing with the package."""
    tap = np.exp(-((np.arange(11) - 5.0) ** 2) / 4.5)
    window = np.outer(tap, tap) / tap.sum() ** 2
    x, y = (np.lib.stride_tricks.sliding_window_view(image, (11, 11)) for image in (x, y))
    mx, my = (np.einsum("hwij,ij->hw", image, window) for image in (x, y))
    vx, vy, vxy = (np.einsum("hwij,hwij,ij->hw", *pair, window) for pair in ((x, x), (y, y), (x, y)))
    vx, vy, vxy = vx - mx**2, vy - my**2, vxy - mx * my
    return np.mean((2 * mx * my + 6.5025) * (2 * vxy + 58.5225) / ((mx**2 + my**2 + 6.5025) * (vx + vy + 58.5225)))


def checker_score(restored, original, shave):
    x, y = (np.asarray(Image.open(path), float) for path in (restored, original))
    if y.ndim == 3:
        y = np.rint(16 + y @ [65.481, 128.553, 24.966] / 255)
    if x.max() > 255:
        x = x / 257
    y = y[: len(x), : x.shape[1]]
    if shave:
        x, y = (image[shave:-shave, shave:-shave] for image in (x, y))
    return {"psnr": 20 * np.log10(255 / np.sqrt(np.mean((x - y) ** 2))), "ssim": checker_ssim(x, y)}


def test_a_checker_with_numpy_alone_reproduces_a_row_from_the_saved_images(data_root, tmp_path):
    """Beyond the printed digits. Not to the last one: six pixels of butterfly.png have a luminance exactly between two
    levels, where the order of additions decides; and what is scored unrounded is kept in 16 bits."""
    for task, level, name, shave, tolerance in (("sr", 3, "set5", 3, 1e-5), ("jpeg", 10, "classic5", 0, 5e-4)):
        method = CallableMethod(f"tests.evaluation.test_protocol:{'sharpen' if task == 'sr' else 'smoothen'}")
        result = evaluate(task, level, data_root / name, method, observe=save_to(tmp_path / task, task))
        for image in result.images:
            saved = (tmp_path / task / image.name).with_suffix(".png")
            theirs = checker_score(saved, data_root / name / image.name, shave)
            ours = image.restored.named()
            assert theirs == pytest.approx({key: ours[key] for key in theirs}, abs=tolerance)


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
    assert [image.name for image in result.images] == ["image0.png", "image1.png", "image2.png"]
    assert [failure.name for failure in result.failures] == ["broken.png", "tiny.png"]
    assert "11×11" in result.failures[1].error
    for path in folder.glob("image*"):
        path.unlink()
    with pytest.raises(ImageError, match=r"broken\.png"):
        evaluate("sr", 2, folder)


def test_saved_images_score_the_same_as_a_folder_of_restored_images(folder, tmp_path_factory):
    """Super-resolution is rounded to 8 bits anyway; 16 bits hold the others, but for values outside [0, 1]."""
    network = WeightsMethod(Restorer(random_weights("sr", MSRNConfig(1, 1, 4)), device="cpu"))
    half = CallableMethod("tests.evaluation.test_protocol:halve")
    for task, level, method, tolerance in (("sr", 3, network, 0), ("sr", 2, half, 0), ("jpeg", 10, half, 1e-3)):
        saved = tmp_path_factory.mktemp("saved")
        first = evaluate(task, level, folder, method, observe=save_to(saved, task))
        second = evaluate(task, level, folder, FolderMethod(saved, "studio"))
        assert second.mean.named() == pytest.approx(first.mean.named(), abs=tolerance)


def test_restored_images_may_be_as_large_as_the_original_and_carry_a_suffix(folder, tmp_path_factory):
    saved = tmp_path_factory.mktemp("saved")
    for path in folder.iterdir():
        shutil.copy(path, saved / f"{path.stem}_x3.png")
    result = evaluate("sr", 3, folder, FolderMethod(saved, "studio"))
    assert len(result.images) == 3
    assert result.mean.psnr == float("inf")


def test_missing_ambiguous_unreadable_and_wrongly_sized_restored_images_are_failures(folder, tmp_path_factory):
    saved = tmp_path_factory.mktemp("saved")
    Image.new("L", (42, 36)).save(saved / "image0.png")
    Image.new("L", (41, 36)).save(saved / "image1.png")
    for name in ("image3", "image4", "image5", "image6"):
        shutil.copy(folder / "image0.png", folder / f"{name}.png")
    (saved / "image3.png").write_bytes(b"no image")
    Image.new("L", (84, 72)).save(saved / "image4.png")
    for name in ("image5_x3.png", "image5_x3.bmp"):
        Image.new("L", (42, 36)).save(saved / name)
    result = evaluate("sr", 3, folder, FolderMethod(saved, "studio"))
    assert [image.name for image in result.images] == ["image0.png"]
    errors = {failure.name: failure.error for failure in result.failures}
    assert "41×36" in errors["image1.png"]
    assert "no restored image" in errors["image2.png"]
    assert "image3.png" in errors["image3.png"]
    assert "84×72" in errors["image4.png"]
    assert "image5_x3.bmp, image5_x3.png" in errors["image5.png"]
    assert len(errors) == 6


def halve(plane):
    return plane / 2


def not_finite(plane):
    return plane * np.nan


def too_small(plane):
    return plane[1:]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_gray_images_that_a_peer_wrote_as_rgb_are_gray(colors, tmp_path_factory, mode):
    saved = tmp_path_factory.mktemp("saved")
    for name in ("cat.png", "gray.png"):
        with Image.open(colors / name) as image:
            image.convert(mode if name == "gray.png" else "RGB").save(saved / name)
    result = evaluate("jpeg", 10, colors, FolderMethod(saved, "studio", colors))
    assert min(image.restored.psnr for image in result.images) > 100


def test_folders_are_named_after_their_set(tmp_path):
    for folder, name in (("Set5/HR", "Set5"), ("Set5/original", "Set5"), ("Set5", "Set5"), ("album", "album")):
        assert set_name(tmp_path / folder) == name


def just_a_number(plane):
    return plane.mean()


def broken(plane):
    raise KeyError("no layer")


def smoothen(plane):
    return (np.roll(plane, 1, 0) + np.roll(plane, -1, 0) + np.roll(plane, 1, 1) + np.roll(plane, -1, 1)) / 4


def sharpen(plane):
    return 1.3 * plane - 0.3 * smoothen(plane)


def test_any_python_function_can_be_scored(folder):
    result = evaluate("denoise", 10, folder, CallableMethod("tests.evaluation.test_protocol:halve"))
    assert result.mean.psnr < result.baseline.psnr
    wrong_ones = {
        "not_finite": "not finite",
        "too_small": "×3[56]",
        "just_a_number": "shape",
        "broken": "no layer",
    }
    for function, words in wrong_ones.items():
        for task, level in (("denoise", 10), ("sr", 2)):
            with pytest.raises(ImageError, match=f"image0.png: .*{words}"):
                evaluate(task, level, folder, CallableMethod(f"tests.evaluation.test_protocol:{function}"))
    for wrong in ("nowhere:f", "tests.evaluation.test_protocol:nothing", "tests.evaluation.test_protocol", ""):
        with pytest.raises(UsageError, match="module:function"):
            CallableMethod(wrong)


def with_psnr(result, values):
    """The same result with other PSNR of its images."""
    images = zip(result.images, values, strict=True)
    return replace(result, images=tuple(replace(i, restored=replace(i.restored, psnr=v)) for i, v in images))


def test_differences_come_with_an_interval_that_covers_them(folder):
    plain = evaluate("denoise", 30, folder)
    better = with_psnr(plain, [image.restored.psnr + 1 + k for k, image in enumerate(plain.images)])
    verdict = compare(better, plain)
    assert verdict["psnr"].difference == pytest.approx(2)
    assert 1 <= verdict["psnr"].low < 2 < verdict["psnr"].high <= 3
    nothing = Difference(0, 0, 0)
    assert compare(plain, plain) == {"psnr": nothing, "ssim": nothing}
    perfect = with_psnr(plain, [float("inf")] * 3)
    assert compare(perfect, perfect)["psnr"] == nothing
    for other in (evaluate("denoise", 20, folder), evaluate("denoise", 30, folder, color=True)):
        with pytest.raises(UsageError, match="one task"):
            compare(plain, other)
    with pytest.raises(UsageError, match="no image in common"):
        compare(plain, replace(plain, images=()))


def test_the_interval_is_as_wide_as_statistics_say():
    """For many normal differences the bootstrap's interval is mean ± 1.96 standard errors."""
    differences = np.random.default_rng(1).normal(0.1, 0.5, 400)
    flat = Scores(30.0, 1.0)
    images = tuple(ImageScores(str(k), flat, flat) for k in range(400))
    first = Evaluation("sr", 2, "x", images, flat, flat, "y", color=False, weights=None)
    second = with_psnr(first, 30 + differences)
    verdict = compare(second, first)["psnr"]
    half = 1.96 * differences.std() / 20
    assert verdict.low == pytest.approx(differences.mean() - half, abs=0.1 * half)
    assert verdict.high == pytest.approx(differences.mean() + half, abs=0.1 * half)


def test_every_later_method_is_compared_with_the_first_of_its_cell(folder):
    results = [evaluate("sr", level, folder) for level in (2, 3, 2, 3, 2)]
    named = [replace(result, weights=f"method {number}") for number, result in enumerate(results)]
    compared = [result.difference for result in compare_with_first(named)]
    assert compared[:2] == [None, None]
    assert [comparison.against for comparison in compared[2:]] == ["method 0", "method 1", "method 0"]


def tiles_of_the_authors(length, threshold, context):
    """(core start, core end, source start, source end) along one side, as their scripts find them: they march in equal
    strides, take 16 pixels before (if there are any) and 16 behind, and near the end all that is left."""
    stride = -(-length // -(-length // (threshold + context)))
    for start in range(0, length, stride):
        end, behind = min(start + stride, length), start + stride + context
        yield start, end, max(0, start - context), behind if behind <= length else length


def test_the_authors_tiles_are_cut_as_in_their_scripts(folder):
    for length in (11, 100, 166, 167, 176, 256, 333, 334, 480, 500, 510, 512, 1000):
        for task, threshold in (("sr", 150), ("denoise", 120), ("jpeg", 150)):
            parts = plan(length, 1, AUTHORS_TILE[task], AUTHORS_HALO)
            ours = [(p.core.top, p.core.bottom, p.source.top, p.source.bottom) for p in parts]
            assert ours == list(tiles_of_the_authors(length, threshold, 16))


def test_tiles_change_what_reaches_further_than_their_context_and_nothing_else(folder):
    seen = []

    class Spy:
        name = "spy"

        def __call__(self, degraded, image):
            seen.append(degraded.shape)
            return degraded - degraded.mean()

    image = np.random.default_rng(0).random((1, 200, 150))
    tiled = TiledMethod(Spy(), 166, 16)(image, "x")
    assert seen == [(1, 116, 150), (1, 116, 150)]
    np.testing.assert_allclose(tiled[:, :100], image[:, :100] - image[:, :116].mean())
    np.testing.assert_allclose(tiled[:, 100:], image[:, 100:] - image[:, 84:].mean())
    local = TiledMethod(CallableMethod("tests.evaluation.test_protocol:halve"), 50, 4)(image, "x")
    np.testing.assert_allclose(local, image / 2, atol=1e-6)
    small = WeightsMethod(Restorer(random_weights("sr", MSRNConfig(1, 1, 4)), device="cpu"))  # sees 4 pixels far
    whole, tiles = (evaluate("sr", 2, folder, small, protocol=name) for name in ("matlab", "authors-tiles"))
    assert tiles.mean == whole.mean
    assert "166" in tiles.protocol
    assert "166" not in whole.protocol
    with pytest.raises(UsageError, match="authors-tiles"):
        evaluate("sr", 2, folder, FolderMethod(folder, "studio"), protocol="authors-tiles")


@pytest.fixture
def colors(tmp_path):
    photo = Image.open(Path(__file__).parents[2] / "demo" / "photographs" / "chelsea.png").convert("RGB")
    photo.crop((100, 50, 197, 122)).save(tmp_path / "cat.png")
    photo.convert("L").crop((0, 0, 64, 48)).save(tmp_path / "gray.png")
    return tmp_path


def test_colour_is_scored_over_red_green_and_blue(colors):
    rgb = np.asarray(Image.open(colors / "cat.png"), float)
    file = io.BytesIO()
    Image.fromarray(rgb.astype(np.uint8)).save(file, "JPEG", quality=10)
    decoded = np.asarray(Image.open(file), float)
    result = evaluate("jpeg", 10, colors, color=True)
    assert "R, G and B" in result.protocol
    cat, gray = (image.restored for image in result.images)
    assert cat.psnr == pytest.approx(20 * np.log10(255 / np.sqrt(np.mean((decoded - rgb) ** 2))))
    assert cat.psnr_b < cat.psnr
    assert gray.psnr == evaluate("jpeg", 10, colors).images[1].restored.psnr  # gray stays gray
    enlarged = np.stack([load_pair(colors / "cat.png", "sr", 2, color=True).degraded[k] for k in range(3)])
    alone = degradations.Bicubic().apply(rgb[:72, :96].transpose(2, 0, 1) / 255, 2)
    np.testing.assert_allclose(enlarged, alone)


@pytest.mark.parametrize(("task", "level"), [("sr", 2), ("denoise", 25), ("jpeg", 15)])
def test_colour_goes_through_the_engines_colour_rule(colors, task, level):
    same = WeightsMethod(Restorer(identity_weights(task), device="cpu"))
    result = evaluate(task, level, colors, same, color=True)
    assert result.mean.named() == pytest.approx(result.baseline.named(), abs=1e-3)
    other = WeightsMethod(Restorer(random_weights(task, MSRNConfig(1, 1, 4)), device="cpu"))
    degraded = load_pair(colors / "cat.png", task, level, color=True).degraded
    restored = other(degraded, "cat.png")
    chroma, before = (rgb_to_ycbcr(image)[1:] for image in (restored, degraded))
    assert np.abs(chroma - before).max() > 1e-3


def test_files_and_functions_can_be_scored_in_colour(colors, tmp_path_factory):
    saved = tmp_path_factory.mktemp("saved")
    function = CallableMethod("tests.evaluation.test_protocol:sharpen")
    first = evaluate("sr", 2, colors, function, observe=save_to(saved, "sr"), color=True)
    assert evaluate("sr", 2, colors, FolderMethod(saved, "studio"), color=True).mean == first.mean
    Image.open(saved / "cat.png").convert("L").save(saved / "cat.png")
    failures = evaluate("sr", 2, colors, FolderMethod(saved, "studio"), color=True).failures
    assert "1 channel, expected 96×72 pixels in 3 channels" in failures[0].error


def halving_onnx(path, channels=1):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    kind, shape = onnx.TensorProto.FLOAT, [1, channels, "height", "width"]
    x, y = (onnx.helper.make_tensor_value_info(name, kind, shape) for name in "xy")
    half = onnx.helper.make_tensor("half", kind, [], [0.5])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Mul", ["x", "half"], ["y"])], "g", [x], [y], [half])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def test_an_onnx_file_can_be_scored(folder, colors, tmp_path_factory):
    path = halving_onnx(tmp_path_factory.mktemp("onnx") / "half.onnx")
    result = evaluate("jpeg", 10, folder, OnnxMethod(path))
    same = evaluate("jpeg", 10, folder, CallableMethod("tests.evaluation.test_protocol:halve"))
    assert result.mean.named() == pytest.approx(same.mean.named(), abs=1e-4)
    assert result.weights.startswith("half.onnx (sha256 ")
    failures = evaluate("jpeg", 10, colors, OnnxMethod(path), color=True).failures
    assert [failure.name for failure in failures] == ["cat.png"]  # three channels are not for this network
    path.write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=r"half\.onnx"):
        OnnxMethod(path)


def test_noise_is_seeded_by_the_name_without_its_suffix(tmp_path):
    for suffix in ("png", "bmp"):
        Image.new("L", (4, 4), 128).save(tmp_path / f"baby.{suffix}")
    one, other = (load_pair(tmp_path / f"baby.{suffix}", "denoise", 50).degraded for suffix in ("png", "bmp"))
    assert np.array_equal(one, other)


def test_noise_is_scored_on_luminance_of_the_full_range_and_jpeg_on_matlabs(tmp_path):
    Image.new("RGB", (4, 4), (255, 255, 255)).save(tmp_path / "x.png")
    assert load_pair(tmp_path / "x.png", "denoise", 0).clean.max() == 1
    assert load_pair(tmp_path / "x.png", "jpeg", 90).clean.max() == pytest.approx(235 / 255)
