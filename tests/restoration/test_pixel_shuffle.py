"""Space to depth: numpy's way around a backend is torch's inside the network."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from msrn.restoration.pixel_shuffle import from_depth, through, to_depth


@pytest.mark.parametrize("unshuffle", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 6, 12), (1, 2, 7, 11)])
def test_numpy_and_torch_agree(unshuffle, shape):
    planes = np.random.default_rng(0).random(shape, dtype=np.float32)
    deep = to_depth(planes, unshuffle)
    height, width = shape[2:]
    filled = F.pad(torch.from_numpy(planes), (0, -width % unshuffle, 0, -height % unshuffle), mode="replicate")
    np.testing.assert_array_equal(deep, F.pixel_unshuffle(filled, unshuffle).numpy())
    np.testing.assert_array_equal(from_depth(deep, unshuffle)[..., :height, :width], planes)


def test_a_backend_sees_squares_and_an_odd_image_keeps_its_size():
    seen = []

    def backend(planes):
        seen.append(planes)
        return 2 * planes

    planes = np.arange(15, dtype=np.float32).reshape(1, 1, 3, 5)
    np.testing.assert_array_equal(through(backend, planes, 2), 2 * planes)
    assert seen[0].shape == (1, 4, 2, 3)
    np.testing.assert_array_equal(seen[0][0, :, 1, 2], [14, 14, 14, 14])  # the corner, repeated
    np.testing.assert_array_equal(through(backend, planes, 1), 2 * planes)
    assert seen[1] is planes
