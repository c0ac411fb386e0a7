"""Tiles partition the image, and tiled results equal whole-image results."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.networks import random_weights

from msrn.errors import UsageError
from msrn.network.config import MSRNConfig
from msrn.network.memnet import build
from msrn.restoration.restorer import Restorer
from msrn.restoration.tiles import plan

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


@given(height=sides, width=sides, tile=st.integers(1, 40), squares=st.integers(0, 9), multiple=st.integers(2, 4))
def test_tiles_of_networks_that_work_on_squares_begin_at_squares(height, width, tile, squares, multiple):
    covered = np.zeros((height, width), int)
    for part in plan(height, width, tile, squares * multiple, multiple):
        covered[part.core.slices] += 1
        assert max(part.core.bottom - part.core.top, part.core.right - part.core.left) <= max(tile, multiple)
        for start in (part.core.top, part.core.left, part.source.top, part.source.left):
            assert start % multiple == 0
        assert part.source.bottom == min(height, part.core.bottom + squares * multiple)
    assert (covered == 1).all()


@given(height=sides, width=sides, tile=st.integers(1, 40), squares=st.integers(0, 9), multiple=st.integers(1, 3))
def test_uniform_tiles_have_one_size_and_see_at_least_as_far(height, width, tile, squares, multiple):
    halo = squares * multiple
    tight = plan(height, width, tile, halo, multiple)
    uniform = plan(height, width, tile, halo, multiple, uniform=True)
    assert [part.core for part in uniform] == [part.core for part in tight]
    for part, least in zip(uniform, tight, strict=True):
        assert part.source.top <= least.source.top
        assert part.source.bottom >= least.source.bottom
        assert part.source.left <= least.source.left
        assert part.source.right >= least.source.right
        assert 0 <= part.source.top < part.source.bottom <= height
        assert 0 <= part.source.left < part.source.right <= width
        assert part.source.top % multiple == part.source.left % multiple == 0
    if height % multiple == width % multiple == 0:
        assert len({(p.source.bottom - p.source.top, p.source.right - p.source.left) for p in uniform}) == 1


@pytest.mark.parametrize("arguments", [(0, 5, 8, 1), (5, 0, 8, 1), (5, 5, 0, 1), (5, 5, 8, -1), (5, 5, 8, 3, 2)])
def test_impossible_plans_are_refused(arguments):
    with pytest.raises(UsageError):
        plan(*arguments)


@pytest.mark.parametrize("size", [(8, 8), (8, 37), (41, 9), (53, 47), (64, 31), (97, 101)])
@pytest.mark.parametrize("tile", [7, 16, 33])
@pytest.mark.parametrize("shape", [(2, 2, 8, 1), (1, 2, 8, 2), (1, 1, 5, 3)])
def test_tiled_equals_whole_image(shape, size, tile):
    weights = random_weights("sr", MSRNConfig(*shape[:3], unshuffle=shape[3]))
    planes = np.random.default_rng(1).random((1, 1, *size), dtype=np.float32)
    with torch.inference_mode():
        whole = build(weights)(torch.from_numpy(planes)).numpy()
    tiled = Restorer(weights, device="cpu", tile=tile).restore_planes(planes)
    np.testing.assert_allclose(tiled, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_a_halo_one_square_short_shows(unshuffle, monkeypatch):
    """The claim above is sharp: the tiles really need the whole halo."""
    weights = random_weights("sr", MSRNConfig(1, 1, 8, unshuffle=unshuffle), seed=3)
    planes = np.random.default_rng(1).random((1, 1, 40, 40), dtype=np.float32)
    whole = Restorer(weights, device="cpu", tile=40).restore_planes(planes)
    halo = MSRNConfig.halo
    monkeypatch.setattr(MSRNConfig, "halo", property(lambda self: halo.fget(self) - unshuffle))
    short = Restorer(weights, device="cpu", tile=8).restore_planes(planes)
    assert np.abs(short - whole).max() > 1e-4
