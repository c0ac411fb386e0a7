"""Luminance and chroma are MATLAB's and JFIF's."""

import numpy as np
import pytest
from PIL import Image

from msrn.errors import UsageError
from msrn.images.color import luminance, luminance_uint8, rgb_to_ycbcr, ycbcr_to_rgb

# From MATLAB: rgb2ycbcr(uint8(cat(3, r, g, b)))
MATLAB = {
    (0, 0, 0): (16, 128, 128),
    (255, 255, 255): (235, 128, 128),
    (255, 0, 0): (81, 90, 240),
    (0, 255, 0): (145, 54, 34),
    (0, 0, 255): (41, 240, 110),
}


def pixel(values):
    return np.array(values, dtype=np.float64).reshape(3, 1, 1)


@pytest.mark.parametrize(("rgb", "ycbcr"), MATLAB.items())
def test_studio_range_is_matlabs(rgb, ycbcr):
    ours = rgb_to_ycbcr(pixel(rgb) / 255) * 255
    assert np.rint(ours).ravel().tolist() == list(ycbcr)
    assert luminance_uint8(pixel(rgb).astype(np.uint8)).item() == ycbcr[0]


def test_full_range_is_jpegs():
    rgb = np.random.default_rng(0).integers(0, 256, (3, 40, 40), dtype=np.uint8)
    theirs = np.moveaxis(np.asarray(Image.fromarray(np.moveaxis(rgb, 0, -1)).convert("YCbCr")), -1, 0)
    ours = rgb_to_ycbcr(rgb / 255, "full") * 255
    assert np.abs(ours - theirs).max() < 1.01  # Pillow cuts where we do not round at all


@pytest.mark.parametrize("color_range", ["studio", "full"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_way_back_leads_back(color_range, dtype):
    rgb = np.random.default_rng(0).random((3, 5, 7)).astype(dtype)
    ycbcr = rgb_to_ycbcr(rgb, color_range)
    assert ycbcr.dtype == dtype
    np.testing.assert_allclose(ycbcr_to_rgb(ycbcr, color_range), rgb, atol=2e-6)
    np.testing.assert_array_equal(luminance(rgb, color_range), ycbcr[:1])


@pytest.mark.parametrize(("color_range", "y"), [("studio", (16, 235)), ("full", (0, 255))])
def test_eight_bit_luminance_is_the_exact_value_rounded(color_range, y):
    """Against whole-number arithmetic, over a grid of colours that holds black, white and no exact half."""
    weights, scale = ((65481, 128553, 24966), 255_000) if color_range == "studio" else ((299, 587, 114), 1000)
    rgb = np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3, indexing="ij")).reshape(3, 52, -1).astype(np.uint8)
    thousandths = sum(weight * plane.astype(np.int64) for weight, plane in zip(weights, rgb, strict=True))
    apart = 2 * thousandths % (2 * scale) != scale
    expected = (2 * thousandths + scale) // (2 * scale) + y[0]
    ours = luminance_uint8(rgb, color_range)[0]
    assert np.array_equal(ours[apart], expected[apart])
    assert np.abs(ours.astype(int) - expected).max() <= 1
    assert (ours.min(), ours.max()) == y


def test_full_range_white_is_white_and_its_chroma_zero_is_128():
    ycbcr = rgb_to_ycbcr(pixel((1, 1, 1)), "full") * 255
    np.testing.assert_allclose(ycbcr.ravel(), [255, 128, 128], atol=1e-12)


def test_gray_has_no_chroma():
    gray = np.full((3, 2, 2), 0.4)
    for color_range in ("studio", "full"):
        np.testing.assert_allclose(rgb_to_ycbcr(gray, color_range)[1:], 128 / 255, atol=1e-12)


def test_other_shapes_are_refused():
    for convert in (rgb_to_ycbcr, ycbcr_to_rgb, luminance):
        for shape in ((1, 4, 4), (4, 4, 4), (3, 4), (4, 4, 3)):
            with pytest.raises(UsageError, match="three channels"):
                convert(np.zeros(shape))
