"""What the embedded networks must not do to what they were not asked to change."""

import numpy as np
import pytest

from msrn import Restorer, weights
from msrn.degrade import GaussianNoise, Jpeg
from msrn.gratings import zone_plate
from msrn.metrics import psnr
from msrn.picture import Picture

PLATE = zone_plate(256, 30)


def after(name, degraded):
    restorer = Restorer(name, device="cpu", backend="eager", precision="fp32")
    planes = degraded.repeat(restorer.config.in_channels, axis=0)
    return psnr(restorer(Picture(planes.astype(np.float32))).pixels[:1], PLATE, data_range=1)


def names(task):
    return [entry.name for entry in weights.CATALOGUE if entry.task == task]


@pytest.mark.parametrize("name", names("denoise"))
def test_fine_stripes_are_no_noise(name):
    assert after(name, PLATE) > 38
    assert after(name, GaussianNoise().apply(PLATE, 5, np.random.default_rng(0))) > 34.2  # what came in


@pytest.mark.parametrize("quality", [80, 90, 95])
@pytest.mark.parametrize("name", names("jpeg"))
def test_fine_stripes_are_no_jpeg_artifacts(name, quality):
    compressed = Jpeg().apply(PLATE, quality)
    assert after(name, compressed) > psnr(compressed, PLATE, data_range=1) - 0.5
