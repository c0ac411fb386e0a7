"""A photograph, and weights that return their input."""

import numpy as np
import pytest
from PIL import Image
from tests.helpers.networks import identity_weights

from msrn.network import weights


@pytest.fixture(scope="package")
def identity(tmp_path_factory):
    """Weights files, by task."""
    folder = tmp_path_factory.mktemp("weights")
    return {task: weights.save(identity_weights(task), folder, task) for task in ("sr", "denoise", "jpeg")}


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    return path
