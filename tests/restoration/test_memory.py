"""Memory grows with the picture, never with the network: a 12-megapixel photograph enlarges ×2 within 4 GiB."""

import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from tests.helpers.memory import CHOICES, NAMES
from tests.helpers.networks import identity_weights

from msrn import Picture, Restorer


@pytest.fixture(scope="module")
def measured(tmp_path_factory, request):
    """What :mod:`tests.helpers.memory` prints."""
    if sys.platform != "linux":
        pytest.skip("needs /proc")
    command = [sys.executable, "-m", "tests.helpers.memory", str(tmp_path_factory.mktemp("memory"))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, cwd=request.config.rootpath, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_bytes_per_pixel_of_the_result_from_file_to_file(measured):
    # Measured 22: the result in floating point, its planes on the way, and the integers that are written. One plane too
    # many is 4 more. Of 48 million pixels all this is 1.1 GiB.
    assert measured["whole way"] < 25


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_pass_takes_what_is_estimated(measured, name, choice):
    # A part of what is grown by may have been there before, freed; too high an estimate only makes tiles small.
    assert 0.5 < measured[f"{name}, {choice}"] < 1.1


@pytest.mark.parametrize(("task", "side"), [("sr", 512), ("denoise", 1024), ("jpeg", 1024)])
def test_bytes_per_pixel_beyond_the_picture_and_its_result(task, side):
    restorer = Restorer(identity_weights(task), device="cpu", backend="eager", precision="fp32", tile=128)
    restorer(Picture(np.zeros((3, 160, 160), np.float32)))  # everything is imported and started
    picture = Picture(np.full((3, side, side), 0.5, np.float32))
    tracemalloc.start()  # sees all arrays of numpy, and nothing of what other programs or the allocator do
    try:
        result = restorer(picture)
        beyond = tracemalloc.get_traced_memory()[1] - result.pixels.nbytes
    finally:
        tracemalloc.stop()
    # The automatic tile counts on 5, one plane and what is converted at a time. One more is for a tile's pass; a second
    # plane would be 4 more.
    assert beyond / 1024**2 < 6
