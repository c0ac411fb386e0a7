"""Chroma that follows the restored luminance."""

import numpy as np
import pytest
from tests.helpers.networks import random_weights

from msrn.images.color import rgb_to_ycbcr, ycbcr_to_rgb
from msrn.images.picture import Picture
from msrn.images.resize import resize
from msrn.network.config import MSRNConfig
from msrn.restoration import guidance
from msrn.restoration.restorer import Restorer


def in_rgb(y, cb, cr):
    return ycbcr_to_rgb(np.stack([y, cb, cr]).astype(np.float32))


def test_where_chroma_is_a_line_of_luminance_its_slope_is_found():
    y = np.random.default_rng(0).uniform(0.1, 0.9, (150, 31))  # more rows than are computed at once
    pixels = in_rgb(y, 0.4 - 0.3 * y, 0.5 + 0.2 * y)
    for index, slope in ((1, -0.3), (2, 0.2)):
        found = guidance.slopes(pixels, index)
        assert found.shape == (1, 150, 31)
        window = np.outer(guidance.WINDOW, guidance.WINDOW)
        wide = np.pad(y, 1, mode="edge")
        parts = [wide[i : i + 150, j : j + 31] for i in range(3) for j in range(3)]
        mean = sum(w * part for w, part in zip(window.flat, parts, strict=True))
        variance = sum(w * (part - mean) ** 2 for w, part in zip(window.flat, parts, strict=True))
        np.testing.assert_allclose(found[0], slope * variance / (variance + guidance.DAMPING), atol=1e-5)


def test_small_changes_are_not_followed():
    y = 0.5 + np.random.default_rng(0).normal(0, 3 / 255, (20, 20))
    assert abs(guidance.slopes(in_rgb(y, y, y), 1)).max() < 0.2  # where the line has 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1)])
def test_thin_pictures(shape):
    pixels = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    assert np.isfinite(guidance.slopes(pixels, 2)).all()


def test_chroma_follows_what_the_network_adds_and_nothing_else():
    pixels = np.random.default_rng(0).random((3, 12, 15), dtype=np.float32)
    weights = random_weights("sr", MSRNConfig(1, 1, 4))
    for strength in (0.0, 1.0):
        result = Restorer(weights, device="cpu", precision="fp32", strength=strength)(Picture(pixels), scale=2)
        made, low = rgb_to_ycbcr(result.pixels), rgb_to_ycbcr(pixels)
        added = made[0] - resize(low[0], 2)
        assert abs(added).max() > 0.01 or strength == 0
        for k in (1, 2):
            expected = resize(low[k], 2) + added * resize(guidance.slopes(pixels, k)[0], 2)
            np.testing.assert_allclose(made[k], expected, atol=1e-5)
