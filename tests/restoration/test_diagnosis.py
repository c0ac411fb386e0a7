"""What is judged from pixels alone is what was done to them."""

import numpy as np
import pytest

from msrn.images.color import ycbcr_to_rgb
from msrn.images.degradations import GaussianNoise, Jpeg
from msrn.images.picture import Picture
from msrn.images.resize import resize
from msrn.restoration.diagnosis import diagnose, jpeg_quality, noise


@pytest.mark.parametrize("sigma", [4, 10, 25, 50, 75])
def test_noise_is_estimated_to_a_tenth(clean, sigma):
    gray = GaussianNoise().apply(clean[:1], sigma, np.random.default_rng(sigma))
    assert noise(gray[0]) == pytest.approx(sigma, rel=0.1, abs=0.5)
    color = GaussianNoise().apply(clean, sigma, np.random.default_rng(sigma))
    # Luminance is a weighted mean of three independent samples: two thirds of their deviation.
    assert diagnose(Picture(color)).sigma == pytest.approx(0.668 * sigma, rel=0.1, abs=0.5)


def test_a_clean_or_tiny_picture_has_no_noise(clean):
    assert diagnose(Picture(clean)).sigma < 2  # far below what is removed
    assert noise(np.random.default_rng(0).random((20, 20), np.float32)) == 0
    assert diagnose(Picture(np.full((1, 1, 1), 0.5, np.float32))).sigma == 0


def test_clipped_pictures_are_not_taken_for_noisy(clean):
    page = np.ones((300, 400), np.float32)
    page[np.random.default_rng(0).random((300, 400)) < 0.1] = 0.1  # black on white
    assert diagnose(Picture(page[None])).sigma == 0
    overexposed = (clean * 3).clip(0, 1)
    assert diagnose(Picture(overexposed)).sigma < 2


@pytest.mark.parametrize("quality", [5, 10, 30, 50, 75])
@pytest.mark.parametrize("crop", [(0, 0), (3, 5)])
def test_quality_is_read_off_the_grid_wherever_it_is(clean, quality, crop):
    textured = GaussianNoise().apply(clean, 6, np.random.default_rng(0)).clip(0, 1)
    for channels in (1, 3):
        compressed = Jpeg().apply(textured[:channels], quality)[:, crop[0] :, crop[1] :]
        found = diagnose(Picture(np.ascontiguousarray(compressed))).quality
        assert found is not None
        assert abs(found - quality) <= 2


def test_what_was_never_compressed_shows_no_quality(clean):
    for sigma in (0, 5, 50):
        noisy = GaussianNoise().apply(clean, sigma, np.random.default_rng(0))
        assert diagnose(Picture(noisy.clip(0, 1))).quality is None
        # Rounding to 8 bit is no compression.
        assert diagnose(Picture((noisy.clip(0, 1) * 255).round() / np.float32(255))).quality is None
    resized = resize(Jpeg().apply(clean, 20), 1.3).astype(np.float32)
    assert diagnose(Picture(resized.clip(0, 1))).quality is None
    assert jpeg_quality(np.zeros((64, 64), np.float32)) is None
    assert jpeg_quality(np.zeros((1, 500), np.float32)) is None


def test_noise_in_the_colours_alone_is_seen():
    noise = np.random.default_rng(0).normal(0, 20 / 255, (3, 160, 200)) * np.array([0, 1, 1])[:, None, None]
    picture = Picture(ycbcr_to_rgb(np.full((3, 160, 200), 0.5) + noise, "full").astype(np.float32))
    assert diagnose(picture).sigma == pytest.approx(20, rel=0.1)
