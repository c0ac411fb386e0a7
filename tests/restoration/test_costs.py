"""What weights are said to cost: timed here, estimated from what was, or from the processor's instructions."""

from types import SimpleNamespace

import pytest

from msrn.restoration import costs
from msrn.restoration.autotune import Tuned
from msrn.restoration.backends import Choice
from msrn.restoration.costs import Cost, costs_here


def engine(work, rates=None, precision="int8"):
    tuned = Tuned(Choice("openvino", precision), rates or {})
    config = SimpleNamespace(multiply_adds_per_pixel=work)
    return SimpleNamespace(config=config, timing=SimpleNamespace(choose=lambda: tuned))


def test_a_timing_counts_and_others_follow_from_it():
    found = costs_here([engine(100, {96: 9e-6, 384: 2e-6}), engine(300), engine(50, {96: 3e-6})])
    assert [cost.timed for cost in found] == [True, False, True]
    assert [cost.seconds for cost in found] == pytest.approx([2.0, 12.0, 3.0])  # 0.04 for each multiply-add


@pytest.mark.parametrize(
    ("known", "precision", "slower"),
    [
        ({"amx_bf16", "avx512_bf16", "avx512_vnni", "avx512f"}, "int8-bf16", 1),
        ({"avx512_bf16", "avx512_vnni", "avx512f"}, "int8-bf16", 2.5),
        ({"avx_vnni"}, "int8", 4e11 / 1.4e11),
        ({"avx2"}, "int8", 8),
        ({"avx512f"}, "fp32", 4e11 / 0.45e11),
        (set(), "fp32", 16),
    ],
)
def test_without_a_timing_the_instructions_tell(known, precision, slower, monkeypatch):
    monkeypatch.setattr(costs, "instructions", lambda: frozenset(known))
    monkeypatch.setattr(costs, "cores", lambda: 2)
    (found,) = costs_here([engine(80_000, precision=precision)])
    assert found == Cost(pytest.approx(slower * 0.1), False)
