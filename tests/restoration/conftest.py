"""Fixtures of this room's tests."""

import numpy as np
import pytest

from msrn.images.resize import resize


@pytest.fixture(scope="module")
def clean():
    """A picture with smooth places, edges and texture, ``(3, 160, 200)``."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:160, :200].astype(np.float32)
    shapes = 0.3 + 0.25 * (np.sin(x / 9) * np.cos(y / 13) > 0) + 0.1 * np.sin(x * y / 900)
    return (shapes + 0.3 * resize(rng.random((3, 16, 20), np.float32) - 0.5, 10)).astype(np.float32).clip(0, 1)
