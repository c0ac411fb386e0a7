"""What a recipe would do, before it does it: how long it takes, how much memory, and what the network will see."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from msrn.system.machine import keep_freed_memory
from msrn.training.loader import Material
from msrn.training.patches import Feed
from msrn.training.recipe import Recipe
from msrn.training.setting import Setting
from msrn.training.state import TrainingRun, start_run
from msrn.training.trainer import train_step

_STEPS = 3


@dataclass(frozen=True)
class TrainingForecast:
    """Measured on a few steps of this machine, as busy as it was then."""

    hours: float
    """For the whole recipe, without the scores on held-out images."""
    patches_per_second: float
    """Of the grown network."""
    data_share: float
    """Part of a step's time that drawing and degrading patches takes."""
    peak_bytes: int
    """Of the process, or of the GPU's memory; 0 where the system does not tell (Windows)."""
    parameters: int
    epochs: float | None
    """How often every image has its share of patches; None where patches are drawn independently."""


def median_step(run: TrainingRun, feed: Feed) -> tuple[float, float]:
    """Return the median seconds of (drawing, computing) a step, over a few steps after one that warms up."""
    times: list[tuple[float, float]] = []
    for _ in range(1 + _STEPS):
        begun = time.perf_counter()
        parts = feed.parts(run.step)
        drawn = time.perf_counter()
        train_step(run, parts)
        times.append((drawn - begun, time.perf_counter() - drawn))
    drawing, computing = np.median(times[1:], axis=0)
    return float(drawing), float(computing)


def forecast_training(
    recipe: Recipe, material: Material, setting: Setting, timed: Callable[..., tuple[float, float]] = median_step
) -> TrainingForecast:
    """Time a few steps of the recipe's network, before and after it grows, on a run that is thrown away."""
    options, growth = recipe.optimiser, recipe.growth
    if setting.device.type == "cpu":
        keep_freed_memory()  # as training does
    small_steps = recipe.model_copy(update={"optimiser": options.model_copy(update={"rate": 1e-6})})
    run = start_run(small_steps, None, setting)
    seconds = 0.0
    with Feed(material.sampler, options, setting.everyone, setting.device) as feed:
        if growth and not run.is_grown:
            seconds += growth.step * sum(timed(run, feed))
            run.grow()
        drawing, computing = timed(run, feed)
    seconds += (options.steps - (growth.step if growth else 0)) * (drawing + computing)
    epoch = getattr(material.sampler, "samples_per_epoch", None)
    return TrainingForecast(
        hours=seconds / 3600,
        patches_per_second=options.batch / (drawing + computing),
        data_share=drawing / (drawing + computing),
        peak_bytes=peak_bytes(setting.device),
        parameters=sum(parameter.numel() for parameter in run.network.parameters()),
        epochs=options.steps * options.batch / epoch if epoch else None,
    )


def sheet(material: Material, batch: int, pairs: int = 8) -> NDArray[np.float32]:
    """Return the first patches of a run's first batch, degraded ones above, clean ones below, as ``(C, H, W)``."""
    drawn = material.sampler.batch(0, batch, slice(pairs))
    rows = [torch.cat(list(torch.as_tensor(part).cpu()), dim=2) for part in drawn]
    return torch.cat(rows, dim=1).clamp(0, 1).numpy()


def peak_bytes(device: torch.device) -> int:
    """Return the most memory in use so far, of the process or of its GPU; 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 0
