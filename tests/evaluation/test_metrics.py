"""PSNR, SSIM and PSNR-B against independent implementations and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import data, metrics
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    peak_signal_noise_ratio_with_blocked_effect,
    structural_similarity_index_measure,
)

from msrn.errors import UsageError
from msrn.evaluation.metrics import psnr, psnr_b, ssim


def images():
    rng = np.random.default_rng(0)
    noise = rng.random((40, 53)) * 255
    yield noise, np.clip(noise + rng.normal(0, 20, noise.shape), 0, 255)
    camera = data.camera()[100:220, 180:330].astype(np.float64)
    yield camera, np.clip(camera + rng.normal(0, 10, camera.shape), 0, 255)
    yield camera, np.roll(camera, 1, axis=0)


@pytest.mark.parametrize(("reference", "image"), list(images()))
def test_psnr_and_ssim_are_scikit_images(reference, image):
    theirs = metrics.peak_signal_noise_ratio(reference, image, data_range=255)
    assert psnr(image, reference) == pytest.approx(theirs, abs=1e-6)
    _, ssim_map = metrics.structural_similarity(
        image,
        reference,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    inside = ssim_map[5:-5, 5:-5]  # scikit-image pads, Wang's code does not
    assert ssim(image, reference) == pytest.approx(inside.mean(), abs=1e-6)
    assert ssim(image / 255, reference / 255, data_range=1) == pytest.approx(ssim(image, reference), abs=1e-9)


@pytest.mark.parametrize(("reference", "image"), list(images()))
def test_psnr_and_ssim_are_torchmetrics(reference, image):
    theirs = [torch.from_numpy(x)[None, None] for x in (image, reference)]
    expected = peak_signal_noise_ratio(*theirs, data_range=255.0).item()
    assert psnr(image, reference) == pytest.approx(expected, abs=1e-6)
    _, full = structural_similarity_index_measure(*theirs, data_range=255.0, sigma=1.5, return_full_image=True)
    inside = full[0, 0, 5:-5, 5:-5]  # torchmetrics mirrors the image at its edges, Wang's code does not
    assert ssim(image, reference) == pytest.approx(inside.mean().item(), abs=1e-6)


def test_colour_counts_every_channel_alike():
    rng = np.random.default_rng(0)
    reference, image = rng.random((3, 20, 30)) * 255, rng.random((3, 20, 30)) * 255
    planes = list(zip(image, reference, strict=True))
    assert ssim(image, reference) == pytest.approx(np.mean([ssim(*pair) for pair in planes]))
    power = np.mean([10 ** (-psnr(*pair) / 10) for pair in planes])
    assert psnr(image, reference) == pytest.approx(-10 * math.log10(power))


def test_psnr_b_of_colour_averages_squared_errors_and_blocking_effects():
    rng = np.random.default_rng(0)
    reference = rng.random((3, 24, 32)) * 255
    image = np.kron(rng.random((3, 3, 4)), np.ones((8, 8))) * 255
    denominators = [255**2 / 10 ** (psnr_b(*pair) / 10) for pair in zip(image, reference, strict=True)]
    assert psnr_b(image, reference) == pytest.approx(10 * math.log10(255**2 / np.mean(denominators)))


def test_whole_numbers_do_not_wrap_round():
    image, reference = np.full((1, 12, 12), 3, np.uint8), np.full((1, 12, 12), 250, np.uint8)
    image[:, ::2] = 9
    for measure in (psnr, ssim, psnr_b):
        assert measure(image, reference) == measure(image.astype(float), reference.astype(float))


def test_equal_images_are_perfect():
    image = np.random.default_rng(0).random((1, 16, 16)) * 255
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1)
    flat = np.full((16, 16), 7.0)
    assert psnr_b(flat, flat) == math.inf
    blocks = np.kron(np.arange(9.0).reshape(3, 3), np.ones((8, 8)))
    assert psnr_b(blocks, blocks) < math.inf  # what it shows of blocks counts, even if the original shows it too


def test_psnr_by_hand():
    assert psnr(np.full((1, 4, 4), 10.0), np.zeros((1, 4, 4))) == pytest.approx(20 * math.log10(25.5))


def test_psnr_b_by_hand():
    """8×16 pixels, flat but for a step of 4 between columns 8 and 9: one block border."""
    image = np.zeros((8, 16))
    image[:, 8:] = 4
    reference = np.zeros((8, 16))
    mean_squared_error = 8.0  # half the pixels are off by 4
    # The border's 8 pairs each differ by 4² = 16, nothing else differs. The paper counts 8·16/8 - 1 = 15 pairs
    # at borders in each direction. Weight: log2(8) / log2(min(8, 16)) = 1.
    blocking_effect = 8 * 16 / (15 + 15)
    expected = 10 * math.log10(255**2 / (mean_squared_error + blocking_effect))
    assert psnr_b(image, reference) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(64, 64), (64, 40), (40, 64), (41, 67), (17, 90)])
@pytest.mark.parametrize("top", [255.0, 1.0])
def test_psnr_b_is_torchmetrics(shape, top):
    """Theirs takes 10·log10(1 / …) for data ranges up to 2, and ours the range itself: the same at 1 and at 255."""
    rng = np.random.default_rng(0)
    reference = rng.random(shape) * top
    image = np.kron(rng.random((12, 12)) * top, np.ones((8, 8)))[: shape[0], : shape[1]]
    tensors = [torch.from_numpy(x)[None, None] for x in (image, reference)]
    expected = peak_signal_noise_ratio_with_blocked_effect(*tensors, data_range=top).item()
    assert psnr_b(image, reference, top) == pytest.approx(expected, abs=1e-6)
    assert psnr_b(image[None], reference[None], top) == psnr_b(image, reference, top)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_psnr_b_is_a_number_not_above_psnr_for_any_size(height, width, seed):
    image, reference = np.random.default_rng(seed).random((2, height, width)) * 255
    assert -20 < psnr_b(image, reference) <= psnr(image, reference)


def test_a_single_line_has_no_blocking_effect():
    line = np.kron(np.arange(4.0), np.ones(8))[None]
    assert psnr_b(line, np.zeros((1, 32))) == psnr(line, np.zeros((1, 32)))


def test_psnr_b_equals_psnr_without_blocks():
    rng = np.random.default_rng(1)
    smooth = np.add.outer(np.arange(32.0), np.arange(32.0))
    other = smooth + rng.normal(0, 0.0, smooth.shape) + 3
    assert psnr_b(other, smooth) == pytest.approx(psnr(other, smooth))


def test_misuse_is_named():
    with pytest.raises(UsageError, match="one size"):
        psnr(np.zeros((1, 4, 4)), np.zeros((1, 4, 5)))
    for empty in (np.zeros((1, 0, 4)), np.zeros(20)):
        with pytest.raises(UsageError, match="not empty"):
            psnr(empty, empty)
    with pytest.raises(UsageError, match="11×11"):
        ssim(np.zeros((1, 10, 40)), np.zeros((1, 10, 40)))
