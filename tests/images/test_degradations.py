"""Degradations: MATLAB's resize bit for bit, noise, JPEG."""

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from msrn import images
from msrn.errors import UsageError
from msrn.images.degradations import Bicubic, GaussianNoise, Jpeg, degradation_for
from msrn.images.picture import to_uint8
from msrn.images.resize import enlarged_size, multiple_of, resize

NAMES = ["baby", "bird", "butterfly", "head", "woman"]


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_resize_equals_matlab_bit_for_bit(data_root, name, scale):
    clean = multiple_of(to_uint8(images.read(data_root / "set5" / f"{name}.png").pixels), scale)
    (published,) = (data_root / "matlab_bicubic" / f"x{scale}").glob(f"*{name}*")
    assert np.array_equal(resize(clean, 1 / scale), to_uint8(images.read(published).pixels))


def slow_imresize(image, sizes, scales):
    """MATLAB's documented algorithm pixel by pixel, for floating point."""

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0

    for axis in sorted((0, 1), key=lambda a: scales[a]):
        lines, scale = np.moveaxis(image, axis, 0), scales[axis]
        shrink = min(scale, 1)
        out = np.zeros((sizes[axis], *lines.shape[1:]))
        for i in range(sizes[axis]):
            centre = (i + 1) / scale + 0.5 * (1 - 1 / scale)
            total = 0
            for j in range(math.floor(centre - 2 / shrink) - 2, math.ceil(centre + 2 / shrink) + 3):
                weight = kernel(shrink * (centre - j))
                period = (j - 1) % (2 * len(lines))
                out[i] += weight * lines[period if period < len(lines) else 2 * len(lines) - 1 - period]
                total += weight
            out[i] /= total
        image = np.moveaxis(out, 0, axis)
    return image


@given(st.integers(1, 14), st.integers(1, 14), st.floats(0.2, 4).map(lambda x: round(x, 3)), st.integers(0, 2**32 - 1))
def test_resize_equals_the_slow_algorithm(height, width, scale, seed):
    image = np.random.default_rng(seed).random((height, width))
    sizes = tuple(math.ceil(side * scale - 1e-9) for side in image.shape)
    ours = resize(image[None], scale)[0]
    assert ours.shape == sizes
    np.testing.assert_allclose(ours, slow_imresize(image, sizes, (scale, scale)), atol=1e-12)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 40), st.integers(1, 40))
def test_resize_meets_any_size_and_keeps_constants_and_types(height, width, new_height, new_width):
    for dtype, value in ((np.float32, 0.25), (np.float64, 0.25), (np.uint8, 77)):
        result = resize(np.full((2, height, width), value, dtype), size=(new_height, new_width))
        assert result.dtype == dtype
        assert result.shape == (2, new_height, new_width)
        np.testing.assert_allclose(result, value, atol=1e-6)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 40), st.integers(1, 40))
def test_resize_to_a_size_commutes_with_flips_and_turns(height, width, new_height, new_width):
    image = np.random.default_rng(height * width).random((1, height, width))
    result = resize(image, size=(new_height, new_width))
    for axis in (1, 2):
        flipped = resize(np.flip(image, axis), size=(new_height, new_width))
        np.testing.assert_allclose(np.flip(flipped, axis), result, atol=1e-12)
    turned = resize(np.swapaxes(image, 1, 2), size=(new_width, new_height))
    np.testing.assert_allclose(np.swapaxes(turned, 1, 2), result, atol=1e-12)


def test_rounding_between_the_passes_follows_matlabs_order():
    """The axis with the smaller factor first, rows when equal; on uint8 each pass rounds, so the order shows."""
    image = np.random.default_rng(0).integers(0, 256, (1, 12, 12), dtype=np.uint8)

    def rounded(lines, scale):
        size = math.ceil(lines.shape[0] * scale)
        return np.floor(slow_imresize(lines, (size, lines.shape[1]), (scale, 1)) + 0.5).clip(0, 255)

    for size in ((6, 6), (4, 6), (6, 4), (24, 6), (6, 24)):
        factors = [new / 12 for new in size]
        result = image[0].astype(float)
        for axis in sorted((0, 1), key=lambda a: factors[a]):
            result = rounded(result, factors[0]) if axis == 0 else rounded(result.T, factors[1]).T
        assert np.array_equal(resize(image, size=size)[0], result), size


def test_a_decimal_scale_does_not_gain_a_pixel():
    assert resize(np.zeros((1, 10, 100)), 1.1).shape == (1, 11, 110)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"scale": 2, "size": (2, 2)},
        {"scale": -1},
        {"scale": 0},
        {"scale": math.nan},
        {"scale": math.inf},
        {"size": (0, 3)},
    ],
)
def test_resizes_that_cannot_be_are_refused(how):
    with pytest.raises(UsageError):
        resize(np.zeros((1, 4, 4)), **how)


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.bool_])
def test_resize_refuses_whole_numbers_other_than_uint8(dtype):
    with pytest.raises(UsageError, match=np.dtype(dtype).name):
        resize(np.ones((1, 4, 4), dtype), 2)


def test_resize_refuses_an_empty_image():
    with pytest.raises(UsageError, match="0×4"):
        resize(np.zeros((1, 0, 4)), size=(3, 3))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_the_cut_to_multiples_loses_less_than_a_multiple_at_the_bottom_and_right(height, width, factor):
    image = np.arange(height * width).reshape(1, height, width)
    cut = multiple_of(image, factor)
    assert np.array_equal(cut, image[:, : height // factor * factor, : width // factor * factor])


def test_enlarged_size():
    assert enlarged_size((10, 20)) == (20, 40)
    assert enlarged_size((10, 20), scale=1.33) == (14, 27)
    assert enlarged_size((10, 20), size=(10, 33)) == (10, 33)
    assert enlarged_size((10, 20), scale=1) == (10, 20)


@pytest.mark.parametrize(
    "how",
    [
        {"scale": 0.5},
        {"scale": math.nan},
        {"scale": math.inf},
        {"size": (9, 20)},
        {"size": (10, 19)},
        {"scale": 2, "size": (20, 40)},
    ],
)
def test_an_enlargement_that_reduces_is_refused(how):
    with pytest.raises(UsageError):
        enlarged_size((10, 20), **how)


def test_noise_is_white_unclipped_and_seeded():
    clean = np.full((1, 200, 200), 0.5)
    noisy = GaussianNoise().apply(clean, 50, np.random.default_rng(0))
    assert np.array_equal(noisy, GaussianNoise().apply(clean, 50, np.random.default_rng(0)))
    assert (noisy - clean).std() * 255 == pytest.approx(50, rel=0.02)
    half = GaussianNoise().apply(clean, 25.5, np.random.default_rng(0)) - clean
    unit = np.random.default_rng(0).standard_normal(clean.shape)
    np.testing.assert_allclose(half, unit / 10, atol=1e-12)  # σ counts in 255ths
    assert abs((noisy - clean).mean() * 255) < 1
    assert noisy.min() < 0 < 1 < noisy.max()
    assert GaussianNoise().apply(clean.astype(np.float32), 1, np.random.default_rng(0)).dtype == np.float32


def test_jpeg_is_libjpegs():
    image = np.random.default_rng(0).integers(0, 255, (1, 30, 41), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(image[0]).save(file, "JPEG", quality=20)
    with Image.open(file) as decoded:
        expected = np.asarray(decoded)
    assert np.array_equal(to_uint8(Jpeg().apply(image / 255, 20))[0], expected)


def test_jpeg_in_colour_subsamples_chroma_as_asked():
    image = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
    coarse, fine = (Jpeg(subsampling=(mode,)).apply(image, 95) for mode in ("4:2:0", "4:4:4"))
    assert coarse.shape == fine.shape == image.shape
    assert coarse.dtype == np.float32
    assert np.abs(coarse - image).mean() > 2 * np.abs(fine - image).mean()


@pytest.mark.parametrize(("task", "levels"), [("sr", (2, 3)), ("denoise", (5, 20)), ("jpeg", (10, 30))])
def test_levels_are_drawn_from_their_range(task, levels):
    degradation = degradation_for(task, levels)
    rng = np.random.default_rng(0)
    drawn = [degradation.sample(rng) for _ in range(200)]
    assert min(levels) <= min(drawn) <= max(drawn) <= max(levels)
    assert len(set(drawn)) > (1 if task == "sr" else 10)


def test_the_usual_levels_are_drawn_in_full():
    rng = np.random.default_rng(0)
    assert {Bicubic().sample(rng) for _ in range(100)} == {2, 3, 4}
    sigmas = [GaussianNoise().sample(rng) for _ in range(2000)]
    assert min(sigmas) < 1
    assert 74 < max(sigmas) <= 75
    assert np.mean(np.array(sigmas) < 5) == pytest.approx(1 / 6, abs=0.03)
    qualities = np.array([Jpeg().sample(rng) for _ in range(4000)])
    assert (min(qualities), max(qualities)) == (5, 98)
    # Steps of quality 5, 10, 95 and 98 are 10, 5, 0.1 and 0.04 times the table: log-uniform in these.
    whole = math.log(10 / 0.04)
    assert (qualities <= 10).mean() == pytest.approx(math.log(10 / 5) / whole, abs=0.03)
    assert (qualities >= 95).mean() == pytest.approx(math.log(0.1 / 0.04) / whole, abs=0.03)


@pytest.mark.parametrize("quality", [1, 7, 49, 50, 51, 75, 99, 100])
def test_the_ends_of_a_range_of_qualities_are_drawn_exactly(quality):
    other = Jpeg((quality, 100)), Jpeg((1, quality))
    assert (other[0].at(0), other[1].at(1)) == (quality, quality)


def test_bicubic_is_reduction_and_enlargement():
    image = np.random.default_rng(0).random((1, 12, 24))
    expected = resize(resize(image, 1 / 3), 3)
    np.testing.assert_allclose(Bicubic().apply(image, 3), expected, atol=1e-12)


def test_rounding_is_half_up():
    assert to_uint8(np.array([-1, 0.5 / 255, 1.5 / 255, 2.4999 / 255, 2.0])).tolist() == [0, 1, 2, 2, 255]


@pytest.mark.parametrize(
    "how", [{"scale": 2.37}, {"scale": 1}, {"size": (9, 30)}, {"size": (14, 20)}, {"size": (20, 11)}]
)
def test_resizing_onto_an_array_adds_the_result_to_it(how):
    rng = np.random.default_rng(0)
    image = rng.random((2, 9, 11), dtype=np.float32)
    expected = resize(image, **how)
    onto = rng.random(expected.shape, dtype=np.float32)
    before = onto.copy()
    assert resize(image, **how, onto=onto) is onto
    np.testing.assert_allclose(onto - before, expected, atol=1e-6)


def test_compressing_does_not_depend_on_what_images_may_be_read_meanwhile(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    assert Jpeg().apply(np.zeros((1, 32, 32)), 50).shape == (1, 32, 32)


def test_patches_are_cut_at_every_phase_of_the_largest_block():
    assert [Jpeg(subsampling=modes).period for modes in ((), ("4:4:4",), ("4:4:4", "4:2:0"))] == [8, 8, 16]


def test_what_floating_point_adds_to_a_size_is_no_pixel():
    assert 100 * 1.1 > 110
    assert enlarged_size((10, 100), scale=1.1) == (11, 110)


def test_a_recipes_levels_and_ways_reach_the_degradation():
    assert degradation_for("jpeg", (), 0, ("4:4:4",)) == Jpeg(subsampling=("4:4:4",))
    assert degradation_for("jpeg", (5, 9), 0, ("4:4:4",)) == Jpeg((5, 9), ("4:4:4",))
    assert degradation_for("denoise", (5, 9), 0.5) == GaussianNoise((5, 9), 0.5)
    assert degradation_for("denoise", (), 0.5) == GaussianNoise(common=0.5)


def test_a_reduction_by_a_fraction_rounds_its_size():
    image = np.random.default_rng(0).random((1, 13, 14))
    expected = resize(resize(image, size=(9, 9)), size=(13, 14))
    np.testing.assert_allclose(Bicubic().apply(image, 1.5), expected)


def test_one_side_follows_from_the_other():
    assert enlarged_size((30, 40), size=(None, 81)) == (61, 81)
    assert enlarged_size((30, 40), size=(45, None)) == (45, 60)
    with pytest.raises(UsageError, match="40×30 to the smaller 39×29"):
        enlarged_size((30, 40), size=(None, 39))
    for wrong in ((None, None), (45.5, None), 45, (1, 2, 3)):
        with pytest.raises(UsageError, match=r"a size is \(height, width\)"):
            enlarged_size((30, 40), size=wrong)
