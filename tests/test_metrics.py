"""PSNR, SSIM and PSNR-B against independent implementations and by hand."""

import math

import numpy as np
import pytest
from skimage import data, metrics

from msrn.errors import UsageError
from msrn.metrics import psnr, psnr_b, ssim


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


def test_equal_images_are_perfect():
    image = np.random.default_rng(0).random((1, 16, 16)) * 255
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1)
    assert psnr_b(image[0], image[0] * 1.0) <= math.inf


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


def test_psnr_b_is_torchmetrics_on_square_images():
    import torch
    from torchmetrics.functional.image import peak_signal_noise_ratio_with_blocked_effect as theirs

    rng = np.random.default_rng(0)
    reference = np.kron(rng.random((8, 8)) * 255, np.ones((8, 8))) + rng.normal(0, 5, (64, 64))
    image = np.kron(reference.reshape(8, 8, 8, 8).mean((1, 3)), np.ones((8, 8)))
    tensors = [torch.from_numpy(x)[None, None] for x in (image, reference)]
    assert psnr_b(image, reference) == pytest.approx(theirs(*tensors, data_range=255.0).item(), abs=1e-4)


def test_psnr_b_equals_psnr_without_blocks():
    rng = np.random.default_rng(1)
    smooth = np.add.outer(np.arange(32.0), np.arange(32.0))
    other = smooth + rng.normal(0, 0.0, smooth.shape) + 3
    assert psnr_b(other, smooth) == pytest.approx(psnr(other, smooth))


def test_misuse_is_named():
    with pytest.raises(UsageError, match="one size"):
        psnr(np.zeros((1, 4, 4)), np.zeros((1, 4, 5)))
    with pytest.raises(UsageError, match="11×11"):
        ssim(np.zeros((1, 10, 40)), np.zeros((1, 10, 40)))
    with pytest.raises(UsageError, match="one channel"):
        psnr_b(np.zeros((3, 16, 16)), np.zeros((3, 16, 16)))
