"""MATLAB's bicubic resize, bit for bit, and the sizes that follow from factors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msrn import images
from msrn.errors import UsageError
from msrn.images.picture import to_uint8
from msrn.images.resize import enlarged_size, multiple_of, part_of, resize

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


def test_what_floating_point_adds_to_a_size_is_no_pixel():
    assert 100 * 1.1 > 110
    assert enlarged_size((10, 100), scale=1.1) == (11, 110)


def test_one_side_follows_from_the_other():
    assert enlarged_size((30, 40), size=(None, 81)) == (61, 81)
    assert enlarged_size((30, 40), size=(45, None)) == (45, 60)
    with pytest.raises(UsageError, match="40×30 to the smaller 39×29"):
        enlarged_size((30, 40), size=(None, 39))
    for wrong in ((None, None), (45.5, None), 45, (1, 2, 3)):
        with pytest.raises(UsageError, match=r"a size is \(height, width\)"):
            enlarged_size((30, 40), size=wrong)


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


@pytest.mark.parametrize(
    "how", [{"scale": 2.0}, {"scale": 1.37}, {"scale": 0.5}, {"size": (41, 60)}, {"size": (30, 55)}]
)
def test_a_part_is_what_the_whole_has_there(how):
    image = np.random.default_rng(0).random((3, 30, 40), dtype=np.float32)
    whole = resize(image, **how)
    height, width = whole.shape[1:]
    for rows, columns in (
        (slice(0, 7), slice(3, 4)),
        (slice(height - 5, height), slice(width - 9, width)),
        (slice(0, height), slice(2, 13)),
    ):
        part = part_of((30, 40), rows, columns, **how)
        piece = image[(slice(None), *part.needed)]
        assert np.array_equal(resize(piece, **how, part=part), whole[:, rows, columns])
