"""What is judged of a picture is what was done to it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from msrn.images.color import ycbcr_to_rgb
from msrn.images.decode import decode
from msrn.images.degradations import GaussianNoise, Jpeg
from msrn.images.picture import JpegCoding, Picture, to_uint8
from msrn.images.resize import resize
from msrn.restoration.diagnosis import diagnose
from msrn.restoration.jpeg_quality import quality_of_file, quality_of_pixels
from msrn.restoration.noise_level import covers_noise, looks_like_noise, noise_level
from msrn.restoration.rules import COVERED


def jpeg(pixels, quality, **options):
    """A picture as it is read from a JPEG file."""
    file = io.BytesIO()
    planes = to_uint8(pixels)
    image = Image.fromarray(planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, -1))
    image.save(file, "JPEG", quality=quality, **options)
    return decode(file.getvalue(), Path("x.jpg"))


def page():
    """Light text on dark, ``(3, H, W)``."""
    image = Image.new("RGB", (300, 200), "#1e1e2e")
    for row in range(14):
        ImageDraw.Draw(image).text((8, 14 * row), "def main(): return 0", "#cdd6f4", ImageFont.load_default(11))
    return np.moveaxis(np.asarray(image, np.float32), -1, 0) / np.float32(255)


@pytest.mark.parametrize("quality", range(1, 101))
def test_a_files_tables_tell_its_quality_exactly(quality):
    gray = np.full((1, 16, 16), 0.5, np.float32)
    for pixels, subsampling in ((gray, None), (gray.repeat(3, axis=0), "4:2:0")):
        options = {} if subsampling is None else {"subsampling": subsampling}
        coding = jpeg(pixels, quality, **options).metadata.jpeg
        assert quality_of_file(coding) == (quality, True)


def test_a_file_counts_more_than_its_pixels(clean):
    twice = jpeg(Jpeg().apply(clean, 30), 90)
    found = diagnose(twice)
    assert (found.quality, found.evidence) == (90, "file")
    as_png = Picture(twice.pixels)
    assert diagnose(as_png).evidence == "pixels"


def test_tables_of_other_programs_are_told_apart(clean):
    tables = [[min(255, round(1.02 * step) + 1) for step in table] for table in jpeg(clean, 75).metadata.jpeg.tables]
    found = diagnose(jpeg(clean, -1, qtables=tables))
    assert found.evidence == "unusual file"
    assert abs(found.quality - 75) <= 6
    assert quality_of_file(JpegCoding(((60000,) * 64,))).quality == 1  # beyond what is baseline


def test_text_and_screens_show_their_quality():
    pixels = to_uint8(jpeg(page(), 50).pixels)[:, 3:, 5:] / np.float32(255)
    assert diagnose(Picture(pixels)).quality == 50
    assert diagnose(Picture(page())).quality is None


@pytest.mark.parametrize("sigma", [4, 10, 25, 50, 75])
def test_noise_is_estimated_to_a_tenth(clean, sigma):
    gray = GaussianNoise().apply(clean[:1], sigma, np.random.default_rng(sigma))
    assert noise_level(gray) == pytest.approx(sigma, rel=0.1, abs=0.5)
    color = GaussianNoise().apply(clean, sigma, np.random.default_rng(sigma))
    assert diagnose(Picture(color)).sigma == pytest.approx(sigma, rel=0.1, abs=0.5)


def test_a_clean_or_tiny_picture_has_no_noise(clean):
    assert diagnose(Picture(clean)).sigma < 2  # far below what is removed
    assert noise_level(np.random.default_rng(0).random((1, 20, 20), np.float32)) == 0
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
    assert quality_of_pixels(np.zeros((64, 64), np.float32)) is None
    assert quality_of_pixels(np.zeros((1, 500), np.float32)) is None


def test_noise_in_the_colours_alone_is_seen():
    noise = np.random.default_rng(0).normal(0, 20 / 255, (3, 160, 200)) * np.array([0, 1, 1])[:, None, None]
    pixels = ycbcr_to_rgb(np.full((3, 160, 200), 0.5) + noise, "full").astype(np.float32)
    assert diagnose(Picture(pixels)).sigma == pytest.approx(pixels.std() * 255, rel=0.1)


def test_what_is_removed_must_look_like_noise(clean):
    rng = np.random.default_rng(0)

    def believed(removed, least):
        before = (clean + removed).clip(0, 1).astype(np.float32)
        return looks_like_noise(before, before - removed.astype(np.float32), least, kurtosis=8)

    for sigma in (10, 60):
        noise = rng.normal(0, sigma / 255, clean.shape)
        assert believed(noise, sigma / 2)
        assert not believed(noise / 10, sigma / 2)  # far too little
        assert not believed(0 * noise, 0)
        assert not believed(resize(noise[:, ::2, ::2], 2), 1)  # blotches, not grain
        assert not believed(noise * (rng.random(clean.shape) < 0.05), 1)  # here and there, as texture is


def test_noise_is_covered_by_a_jpeg_where_far_more_is_removed_than_artifacts(clean):
    rng = np.random.default_rng(0)
    artifacts = rng.laplace(0, 2 / 255, clean.shape).astype(np.float32)
    grain = rng.normal(0, 1 / 255, clean.shape)
    before = (0.3 + 0.4 * clean).astype(np.float32)

    def covered(noise):
        return covers_noise(before, before - artifacts - noise.astype(np.float32), before - artifacts, *COVERED)

    assert covered(8 * grain)
    assert covered(resize(20 * grain[:, ::2, ::2], 2))  # a JPEG's noise need not be white
    assert not covered(grain)  # no more than the artifacts
    assert not covered(99 * grain * (rng.random(clean.shape) < 0.05))  # here and there
    assert not covers_noise(before, before, before, *COVERED)  # nothing at all
