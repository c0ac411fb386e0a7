"""Tiles partition the image, and tiled results equal whole-image results."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tools import random_weights

from msrn.engine import Restorer
from msrn.errors import UsageError
from msrn.network import MSRNConfig
from msrn.tiling import plan

sides = st.integers(1, 90)


@given(height=sides, width=sides, tile=st.integers(1, 40), halo=st.integers(0, 20))
def test_cores_cover_every_pixel_once_and_sources_reach_the_halo_or_the_edge(height, width, tile, halo):
    covered = np.zeros((height, width), int)
    for part in plan(height, width, tile, halo):
        rows, columns = part.core.slices
        covered[rows, columns] += 1
        assert max(part.core.bottom - part.core.top, part.core.right - part.core.left) <= tile
        assert part.source.top == max(0, part.core.top - halo)
        assert part.source.bottom == min(height, part.core.bottom + halo)
        assert part.source.left == max(0, part.core.left - halo)
        assert part.source.right == min(width, part.core.right + halo)
        source = np.arange(height * width).reshape(height, width)[part.source.slices]
        core = np.arange(height * width).reshape(height, width)[part.core.slices]
        assert np.array_equal(source[part.kept.slices], core)
    assert (covered == 1).all()


@pytest.mark.parametrize("arguments", [(0, 5, 8, 1), (5, 0, 8, 1), (5, 5, 0, 1), (5, 5, 8, -1)])
def test_impossible_plans_are_refused(arguments):
    with pytest.raises(UsageError):
        plan(*arguments)


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (41, 1), (2, 3), (53, 47), (64, 31), (97, 101)])
@pytest.mark.parametrize("tile", [7, 16, 33])
def test_tiled_equals_whole_image(size, tile):
    weights = random_weights("sr", MSRNConfig(2, 2, 8))
    planes = np.random.default_rng(1).random((1, 1, *size), dtype=np.float32)
    with torch.inference_mode():
        whole = weights.network(torch.from_numpy(planes)).numpy()
    tiled = Restorer(weights, device="cpu", tile=tile).restore_planes(planes)
    np.testing.assert_allclose(tiled, whole, atol=1e-5, rtol=0)


def test_a_halo_one_pixel_short_shows(monkeypatch):
    """The claim above is sharp: the tiles really need the whole receptive radius."""
    weights = random_weights("sr", MSRNConfig(1, 1, 8), seed=3)
    planes = np.random.default_rng(1).random((1, 1, 40, 40), dtype=np.float32)
    whole = Restorer(weights, device="cpu", tile=40).restore_planes(planes)
    radius = MSRNConfig.receptive_radius
    monkeypatch.setattr(MSRNConfig, "receptive_radius", property(lambda self: radius.fget(self) - 1))
    short = Restorer(weights, device="cpu", tile=8).restore_planes(planes)
    assert np.abs(short - whole).max() > 1e-4
