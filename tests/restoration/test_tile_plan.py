"""Which tile the automatic choice takes: within the memory, and as large as pays."""

import pytest

from msrn.network.config import MSRNConfig
from msrn.restoration import device, memory
from msrn.restoration.autotune import Tuned
from msrn.restoration.backends import Choice, Processor
from msrn.restoration.tile_plan import TilePlanner
from msrn.restoration.tiles import SMALLEST_TILE, plan


def tile_of(config, side=2048, rates=None, backend="eager"):
    return TilePlanner(config, Processor(), Tuned(Choice(backend, "fp32"), rates or {}, "")).side(side, side)


def test_the_automatic_tile_shrinks_with_the_memory(monkeypatch):
    sides = []
    for gibibytes in (64, 2, 1, 0.5, 0):
        monkeypatch.setattr(device, "free_memory", lambda gibibytes=gibibytes: gibibytes * 2**30)
        sides.append(tile_of(MSRNConfig()))
    assert sides == sorted(sides, reverse=True)
    assert sides[0] > sides[-1] == SMALLEST_TILE


EAGER = Choice("eager", "fp32")
FLAT = {96: 1e-6}
"""Every pixel takes the same time, whatever the tile."""


def beyond(config, side, tile):
    return memory.runtime_bytes(EAGER) + 5 * side**2 + memory.pass_bytes(config, tile, EAGER, side, side)


@pytest.mark.parametrize("side", [1024, 4096, 8192])
def test_where_halos_are_small_a_gibibyte_is_enough(monkeypatch, side):
    monkeypatch.setattr(device, "free_memory", lambda: 64 << 30)
    config = MSRNConfig(4, 1, 64, unshuffle=2)
    tile = tile_of(config, side, FLAT)
    assert tile == side or tile > 500
    assert beyond(config, side, tile) <= 2**30


def test_where_halos_cost_much_more_memory_is_taken_if_there_is(monkeypatch):
    config = MSRNConfig(6, 6, 64)
    monkeypatch.setattr(device, "free_memory", lambda: 64 << 30)
    assert tile_of(config, 4096, FLAT) >= 5 * config.halo
    monkeypatch.setattr(device, "free_memory", lambda: 2 << 30)
    tile = tile_of(config, 4096, FLAT)
    assert memory.pass_bytes(config, tile, EAGER, 4096, 4096) <= 512 << 20


def test_an_image_that_fits_is_not_cut(monkeypatch):
    monkeypatch.setattr(device, "free_memory", lambda: 64 << 30)
    assert tile_of(MSRNConfig(), 500, {96: 3e-5}) >= 500


@pytest.mark.parametrize(
    ("backend", "able", "sizes"), [("openvino", "avx512f", 4), ("openvino", "avx2", 2), ("eager", "avx2", 2)]
)
def test_where_bf16_is_not_even_emulated_only_torch_saves_memory_by_it(monkeypatch, backend, able, sizes):
    monkeypatch.setattr(memory, "instructions", lambda: {able})
    precisions = ("fp32", "bf16", "int8", "int8-bf16") if backend == "openvino" else ("fp32", "bf16")
    taken = {memory.pass_bytes(MSRNConfig(), 99, Choice(backend, each)) for each in precisions}
    assert len(taken) == sizes


def test_a_lower_precision_leaves_room_for_larger_tiles(monkeypatch):
    monkeypatch.setattr(memory, "instructions", lambda: {"avx512f"})
    monkeypatch.setattr(device, "free_memory", lambda: 4 << 30)
    tiles = {
        precision: TilePlanner(
            MSRNConfig(6, 1, 96, unshuffle=2), Processor(), Tuned(Choice("openvino", precision), FLAT, "")
        ).side(4096, 4096)
        for precision in ("fp32", "int8", "bf16")
    }
    assert tiles["fp32"] <= tiles["int8"] <= tiles["bf16"] > tiles["fp32"]


def test_the_automatic_tile_follows_the_timing(monkeypatch):
    monkeypatch.setattr(device, "free_memory", lambda: 64 << 30)
    config = MSRNConfig(4, 1, 32)
    alike = {96: 1e-6, 192: 1e-6, 384: 1.05e-6}
    assert tile_of(config, rates=alike) > 500
    assert tile_of(config, rates=alike | {384: 9e-6}) <= 192


def test_an_oblong_picture_is_cut_across_only(monkeypatch):
    monkeypatch.setattr(device, "free_memory", lambda: 8 << 30)
    planner = TilePlanner(MSRNConfig(6, 6, 64), Processor(), Tuned(Choice("openvino", "int8"), FLAT, ""))
    for height, width in ((631, 4304), (4304, 631)):
        assert planner.side(height, width) >= 631


def test_where_nothing_fits_a_picture_is_not_cut_for_nothing(monkeypatch):
    monkeypatch.setattr(device, "free_memory", lambda: 0)
    assert tile_of(MSRNConfig(6, 6, 64), 100, FLAT) == 100  # smaller tiles would read all of it, too


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (65500, 1), (3, 400_000_000), (501, 333)])
@pytest.mark.parametrize("free", [0, 64 << 30])
def test_any_picture_has_a_tile(monkeypatch, size, free):
    monkeypatch.setattr(device, "free_memory", lambda: free)
    for unshuffle in (1, 2):
        config = MSRNConfig(4, 1, 64, unshuffle=unshuffle)
        assert TilePlanner(config, Processor(), Tuned(EAGER, FLAT, "")).side(*size) >= 1


@pytest.mark.parametrize(("side", "tile"), [(1024, 768), (1000, 64), (77, 512), (999, 500)])
@pytest.mark.parametrize("unshuffle", [1, 2])
def test_a_pass_takes_what_the_largest_tile_needs(side, tile, unshuffle):
    config = MSRNConfig(4, 1, 64, unshuffle=unshuffle)
    sources = [part.source for part in plan(side, side + 40, tile, config.halo, unshuffle)]
    largest = max((part.bottom - part.top) * (part.right - part.left) for part in sources)
    alone = memory.pass_bytes(config, 10, EAGER) / 100
    # Of two tiles, each has a halo on one side only.
    assert 1 <= memory.pass_bytes(config, tile, EAGER, side, side + 40) / (largest * alone) < 1.15


def test_a_small_picture_is_cut_where_fresh_memory_costs_more_than_halos(monkeypatch):
    monkeypatch.setattr(device, "free_memory", lambda: 64 << 30)
    config = MSRNConfig(4, 1, 64, unshuffle=2)
    sides = {side: tile_of(config, side, {96: 1.5e-6}, "openvino") for side in (512, 1024, 8192)}
    assert sides[512] == 512
    assert sides[1024] == 512
    assert sides[8192] > 600  # whose memory is another matter
