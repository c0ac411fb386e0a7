"""Degradations: bicubic reduction, noise, JPEG, and the levels they are drawn at."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from msrn.images.degradations import (
    Bicubic,
    GaussianNoise,
    Jpeg,
    Photographic,
    PhotographicReduction,
    degradation_for,
)
from msrn.images.picture import to_uint8
from msrn.images.resize import resize


def test_bicubic_is_reduction_and_enlargement():
    image = np.random.default_rng(0).random((1, 12, 24))
    expected = resize(resize(image, 1 / 3), 3)
    np.testing.assert_allclose(Bicubic().apply(image, 3), expected, atol=1e-12)


def test_a_reduction_by_a_fraction_rounds_its_size():
    image = np.random.default_rng(0).random((1, 13, 14))
    expected = resize(resize(image, size=(9, 9)), size=(13, 14))
    np.testing.assert_allclose(Bicubic().apply(image, 1.5), expected)


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


def test_compressing_does_not_depend_on_what_images_may_be_read_meanwhile(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    assert Jpeg().apply(np.zeros((1, 32, 32)), 50).shape == (1, 32, 32)


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


def test_patches_are_cut_at_every_phase_of_the_largest_block():
    assert [Jpeg(subsampling=modes).period for modes in ((), ("4:4:4",), ("4:4:4", "4:2:0"))] == [8, 8, 16]


def test_a_recipes_levels_and_ways_reach_the_degradation():
    assert degradation_for("jpeg", (), 0, ("4:4:4",)) == Jpeg(subsampling=("4:4:4",))
    assert degradation_for("jpeg", (5, 9), 0, ("4:4:4",)) == Jpeg((5, 9), ("4:4:4",))
    assert degradation_for("denoise", (5, 9), 0.5) == GaussianNoise((5, 9), 0.5)
    assert degradation_for("denoise", (), 0.5) == GaussianNoise(common=0.5)
    assert degradation_for("photo", (5, 9)) == Photographic((5, 9))
    assert degradation_for("photo-sr", (2, 3)) == PhotographicReduction((2, 3))


def test_a_photographs_noise_is_that_of_a_file():
    rng = np.random.default_rng(0)
    clean = np.full((3, 200, 200), 0.5, np.float32)
    noise_alone = Photographic(jpegs=((1, 0, 0), (1, 0, 0)))
    assert np.array_equal(noise_alone.apply(clean, 0, rng), to_uint8(clean) / np.float32(255))
    draws = [noise_alone.apply(clean, 40, rng) for _ in range(12)]
    assert all(np.array_equal(to_uint8(image) / np.float32(255), image) for image in draws)
    assert np.mean([image.std() for image in draws]) * 255 == pytest.approx(40, rel=0.05)
    common = [np.corrcoef(image[0].ravel(), image[1].ravel())[0, 1] for image in draws]
    assert min(common) < 0.05  # half of the draws are independent
    assert max(common) > 0.3
    halves = clean * np.float32([0.1, 1.6]).repeat(100)  # dark and bright
    ratios = [
        image[:, :, 100:].std() / image[:, :, :100].std()
        for image in (noise_alone.apply(halves, 5, rng) for _ in range(12))
    ]
    assert min(ratios) < 1.05
    assert max(ratios) > 1.5  # photons


def test_a_photograph_is_compressed_once_or_twice_on_other_grids():
    image = GaussianNoise().apply(np.full((3, 64, 64), 0.5), 20, np.random.default_rng(0)).clip(0, 1)
    once, twice = (Photographic(jpegs=((0, k == 1, k == 2),) * 2, jpeg=Jpeg((40, 40))) for k in (1, 2))
    first = once.apply(image, 0, np.random.default_rng(1))
    np.testing.assert_array_equal(first, Jpeg().apply(image, 40))
    again = twice.apply(image, 0, np.random.default_rng(1))
    assert again.shape == image.shape
    on_the_same_grid = Jpeg().apply(first, 40)
    assert np.abs(again - first).mean() > 2 * np.abs(on_the_same_grid - first).mean()


def test_some_photographs_are_left_as_they_are():
    drawn = [Photographic().sample(np.random.default_rng(k)) for k in range(300)]
    assert np.mean([sigma == 0 for sigma in drawn]) == pytest.approx(Photographic.without_noise, abs=0.08)
    assert 45 < max(drawn) <= 50


def test_a_photograph_from_the_web_was_reduced_and_compressed():
    clean = np.random.default_rng(0).random((3, 48, 60))
    rng = np.random.default_rng(1)
    scales = [PhotographicReduction().sample(rng) for _ in range(300)]
    assert 1.5 <= min(scales) < 1.6
    assert 3.8 < max(scales) <= 4
    alone = PhotographicReduction(with_noise=0, with_jpeg=0).apply(clean, 2, rng)
    np.testing.assert_allclose(alone, Bicubic().apply(clean, 2), atol=3 / 255)  # 8 bits in between
    compressed = PhotographicReduction(with_noise=0, with_jpeg=1, jpeg=Jpeg((30, 30))).apply(clean, 2, rng)
    small = to_uint8(resize(clean, 0.5)) / 255
    np.testing.assert_array_equal(compressed, resize(Jpeg().apply(small, 30), size=(48, 60)))
    noisy = PhotographicReduction(with_noise=1, with_jpeg=0, sigma=10).apply(np.full_like(clean, 0.5), 2, rng)
    assert 0.1 < noisy.std() * 255 < 10
    assert not np.isnan(PhotographicReduction(with_noise=1).apply(np.round(clean), 1.5, rng)).any()  # overshoots
