"""What weights cost on this machine in seconds per megapixel: as timed here, or by what is known without a timing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from msrn.restoration.autotune import Tuned
from msrn.restoration.backends import Choice
from msrn.restoration.engine import Engine
from msrn.system.machine import cores, instructions

_PER_CORE = {
    "amx": 4e11,
    "int8-bf16": 1.6e11,
    "int8": 1.4e11,
    "bf16": 0.9e11,
    "fp32": 0.45e11,
    "int8 without VNNI": 0.5e11,
    "fp32 without AVX-512": 0.25e11,
}
"""Multiply-adds per second that a core computes, to within a factor of two. AVX-512 with bf16 and VNNI was timed
(docs/results/speed.json); processors with matrix tiles, and those with less, are guessed."""


@dataclass(frozen=True)
class Cost:
    """What one network takes."""

    seconds: float
    """Per megapixel of the result, for one plane (or R, G and B together)."""
    timed: bool
    """Whether this network was timed here; otherwise it is an estimate."""


def costs_here(engines: Sequence[Engine]) -> list[Cost]:
    """The costs of networks on this machine. Nothing is computed for it.

    Where some have been timed, the others are estimated from these by their multiply-adds; otherwise from the
    processor's instructions.
    """
    known = [_timed(engine.timing.choose()) for engine in engines]
    work = [engine.config.multiply_adds_per_pixel for engine in engines]
    timed = [seconds / each for seconds, each in zip(known, work, strict=True) if seconds is not None]
    rate = float(np.median(timed)) if timed else None
    return [
        Cost(seconds, True)
        if seconds is not None
        else Cost(each * (rate or _rate(engine.timing.choose().choice)), False)
        for engine, seconds, each in zip(engines, known, work, strict=True)
    ]


def _timed(tuned: Tuned) -> float | None:
    """Seconds per megapixel of large tiles."""
    return tuned.rates[max(tuned.rates)] * 1e6 if tuned.rates else None


def _rate(choice: Choice) -> float:
    """Seconds per million multiply-adds, by the processor's instructions."""
    known, kind = instructions(), choice.precision
    if "bf16" in kind and "amx_bf16" in known:
        kind = "amx"
    elif kind == "int8" and not known & {"avx512_vnni", "avx_vnni"}:
        kind = "int8 without VNNI"
    elif kind == "fp32" and "avx512f" not in known:
        kind = "fp32 without AVX-512"
    return 1e6 / (_PER_CORE[kind] * cores())
