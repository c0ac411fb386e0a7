"""Training, readable from top to bottom: :func:`fit` is the loop, :func:`train_step` one optimiser step.

Everything random is drawn by (seed, step), nothing from global state, so a run that was stopped and resumed
equals one that was not, bit for bit, on the same machine.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from msrn import checkpoint
from msrn.data import Batch, PatchSampler, list_images, load_plane, split
from msrn.degrade import Degradation, degradation_for, multiple_of
from msrn.engine import choose_device, choose_training_precision
from msrn.errors import MSRNError, UsageError
from msrn.metrics import psnr
from msrn.network import MSRN, MSRNConfig, Outputs, grow, initialise
from msrn.recipe import LossRecipe, NetworkRecipe, OptimiserRecipe, Recipe, differences, validate


@dataclass
class Run:
    """What changes while training."""

    step: int
    network: MSRN
    average: AveragedModel
    optimiser: torch.optim.Optimizer
    seconds: float = 0.0
    """Time spent training so far, over all resumptions."""


@dataclass(frozen=True)
class Progress:
    """What :func:`fit` reports after every step (``scores`` only when it evaluated)."""

    step: int
    steps: int
    loss: float
    rate: float
    gradient_norm: float
    patches_per_second: float
    seconds: float
    scores: dict[str, float] | None = None


def objective(outputs: Outputs, clean: Tensor, recipe: LossRecipe) -> Tensor:
    """The multi-supervised objective (paper, eq. 12), normalised to weight one in all.

    The final image weighs 1, every intermediate one ``intermediate_weight``; at 1 that is the paper's
    α = 1/(M+1). The basic variant's single image is not counted twice.
    """
    terms = [(1.0, outputs.ensemble)]
    if len(outputs.intermediate) > 1 or outputs.intermediate[0] is not outputs.ensemble:
        terms += [(recipe.intermediate_weight, image) for image in outputs.intermediate]
    total = sum(weight for weight, _ in terms)
    return torch.stack([weight / total * _distance(image, clean, recipe.kind) for weight, image in terms]).sum()


def _distance(image: Tensor, clean: Tensor, kind: str) -> Tensor:
    if kind == "l1":
        return F.l1_loss(image, clean)
    if kind == "l2":
        return F.mse_loss(image, clean) / 2
    return torch.sqrt((image - clean) ** 2 + 1e-6).mean()


def learning_rate(recipe: OptimiserRecipe, step: int) -> float:
    """Linear warm-up, hold, cosine to zero over the last ``decay_steps``."""
    warm = min(1.0, (step + 1) / (recipe.warmup_steps + 1))
    left = (recipe.steps - step) / recipe.decay_steps if recipe.decay_steps else 1.0
    decay = 0.5 * (1 - math.cos(math.pi * min(1.0, max(0.0, left))))
    return recipe.rate * warm * decay


def train_step(
    forward: Callable[[Tensor], Outputs],
    network: MSRN,
    optimiser: torch.optim.Optimizer,
    degraded: Tensor,
    clean: Tensor,
    recipe: Recipe,
    precision: torch.dtype = torch.float32,
) -> tuple[float, float]:
    """One forward pass, one backward pass, one optimiser step; returns (loss, gradient norm before clipping).

    Raises:
        MSRNError: the loss is not finite; the parameters are untouched.
    """
    with torch.autocast(degraded.device.type, dtype=precision, enabled=precision != torch.float32):
        outputs = forward(degraded)
    full = Outputs(outputs.ensemble.float(), [image.float() for image in outputs.intermediate])
    loss = objective(full, clean, recipe.loss)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), recipe.optimiser.clip_norm)
    loss_value = float(loss.detach())
    if not math.isfinite(loss_value) or not math.isfinite(float(norm)):
        raise MSRNError(f"training diverged: loss {loss_value}, gradient norm {float(norm)}; lower optimiser.rate")
    optimiser.step()
    return loss_value, float(norm)


def fit(
    recipe: Recipe,
    data_root: Path,
    run_folder: Path,
    *,
    resume: bool = False,
    initial: MSRN | None = None,
    device: str = "auto",
    precision: str = "auto",
    compiled: bool = False,
    minutes: float | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Run:
    """Train a recipe to its end, or until ``minutes`` are over, and leave a checkpoint.

    Args:
        recipe: what to train, on what, how.
        data_root: where the recipe's image folders are.
        run_folder: receives checkpoints, ``recipe.json`` and ``log.jsonl``.
        resume: go on from the newest checkpoint in ``run_folder``.
        initial: start from this network instead of a random one (fine-tuning).
        device: ``auto`` or a torch device.
        precision: ``auto``, ``fp32`` or ``bf16``.
        compiled: use ``torch.compile``; pays on some processors only.
        minutes: stop early, with a checkpoint; the schedule does not change.
        report: called after every step.

    Raises:
        UsageError: the run folder is in use, or the recipe does not fit its checkpoint.
        WeightsError: the checkpoint cannot be read.
        OutputError: the run folder cannot be written.
        KeyboardInterrupt: SIGINT or SIGTERM came; the step at hand was finished and a checkpoint left.
    """
    target = choose_device(device)
    dtype = choose_training_precision(target, precision)
    newest = checkpoint.latest(run_folder)
    if newest and not resume:
        raise UsageError(f"{run_folder} already holds a run; add --resume to continue it, or choose another folder")
    if resume and not newest:
        raise UsageError(f"nothing to resume in {run_folder}: it holds no checkpoint")
    run = _restore(checkpoint.load(newest), recipe, target) if newest else _start(recipe, initial, target)
    sampler, validation = load_data(recipe, data_root)
    run_folder.mkdir(parents=True, exist_ok=True)
    (run_folder / "recipe.json").write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    begun = last_saved = time.monotonic()
    seconds_before = run.seconds
    forward: Callable[[Tensor], Outputs] | None = None
    options = recipe.optimiser
    with _signals() as asked, (run_folder / "log.jsonl").open("a", encoding="utf-8") as log:
        while run.step < options.steps:
            if recipe.growth and run.step >= recipe.growth.step and _recursions(run) < recipe.network.recursions:
                run = _grown(run, recipe, target)
                forward = None
            if forward is None:
                forward = torch.compile(run.network.all_outputs) if compiled else run.network.all_outputs
            started = time.monotonic()
            rate = learning_rate(options, run.step)
            for group in run.optimiser.param_groups:
                group["lr"] = rate
            frozen = options.freeze_batchnorm_step is not None and run.step >= options.freeze_batchnorm_step
            _set_training(run.network, batchnorm=not frozen)
            degraded, clean = _tensors(sampler.batch(run.step * options.batch, options.batch), target)
            loss, norm = train_step(forward, run.network, run.optimiser, degraded, clean, recipe, dtype)
            run.average.update_parameters(run.network)
            run.step += 1
            now = time.monotonic()
            run.seconds = seconds_before + now - begun
            finished = run.step == options.steps
            timed_out = minutes is not None and now - begun >= 60 * minutes
            scores = None
            if run.step % recipe.evaluate_every == 0 or finished:
                scores = validate_network(averaged(run), validation, recipe)
            progress = Progress(
                run.step,
                options.steps,
                loss,
                rate,
                norm,
                options.batch / (now - started),
                run.seconds,
                scores,
            )
            if scores is not None or run.step % 50 == 0:
                log.write(json.dumps({key: value for key, value in vars(progress).items() if value is not None}) + "\n")
                log.flush()
            stopping = asked.stop
            if finished or timed_out or stopping or now - last_saved >= 60 * recipe.checkpoint_minutes:
                checkpoint.save(run_folder, run.step, _state(run, recipe))
                last_saved = time.monotonic()
            report(progress)
            if stopping and not finished:
                raise KeyboardInterrupt
            if timed_out:
                break
    return run


@dataclass
class _Asked:
    """Whether a signal has asked the run to stop."""

    stop: bool = False


@contextmanager
def _signals() -> Generator[_Asked]:
    """Turn SIGINT and SIGTERM into a wish that the loop reads between steps, when its state is whole."""
    asked = _Asked()

    def ask(number: int, frame: object) -> None:
        asked.stop = True

    if threading.current_thread() is not threading.main_thread():  # where signals cannot be caught
        yield asked
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def averaged(run: Run) -> MSRN:
    """The exponential moving average of the network, the one that is evaluated and published."""
    network: Any = run.average.module
    return network


def load_data(recipe: Recipe, data_root: Path) -> tuple[PatchSampler, list[NDArray[np.uint8]]]:
    """Read the recipe's images: a sampler over the training part, and centre crops of the held-out part."""
    paths = list_images([data_root / folder for folder in recipe.data.folders])
    training, held_out = split(paths, recipe.data.validation_every)
    channels, color_range = recipe.network.in_channels, recipe.data.luminance
    sampler = PatchSampler(
        [load_plane(path, channels, color_range) for path in training],
        degradation_for(recipe.task, recipe.data.levels),
        recipe.data.patch,
        recipe.seed,
    )
    crops: list[NDArray[np.uint8]] = []
    for path in held_out:
        image = load_plane(path, channels, color_range)
        top, left = (max(0, (side - recipe.data.validation_crop) // 2) for side in image.shape[1:])
        crops.append(image[:, top : top + recipe.data.validation_crop, left : left + recipe.data.validation_crop])
    return sampler, crops


@torch.no_grad()
def validate_network(network: MSRN, images: list[NDArray[np.uint8]], recipe: Recipe) -> dict[str, float]:
    """Mean PSNR in dB on held-out crops for each level, unrounded, whole crop; a run's own yardstick."""
    degradation: Degradation = degradation_for(recipe.task, recipe.data.validation_levels)
    device = next(network.parameters()).device
    network.eval()
    scores: dict[str, float] = {}
    for level in recipe.data.validation_levels:
        values: list[float] = []
        for index, image in enumerate(images):
            clean = multiple_of(image, degradation.multiple(level)).astype(np.float32) / np.float32(255)
            degraded = degradation.apply(clean, level, np.random.default_rng((recipe.seed, index)))
            restored = network(torch.from_numpy(degraded)[None].to(device))[0].cpu().numpy()
            values.append(psnr(restored, clean, data_range=1))
        scores[f"{level:g}"] = float(np.mean(values))
    return scores


def restore_run(path: Path) -> tuple[Recipe, Run]:
    """Read a checkpoint file as (recipe, run) on the CPU, for publishing and inspection."""
    state = checkpoint.load(path)
    recipe = validate(state["recipe"], str(path))
    return recipe, _restore(state, recipe, torch.device("cpu"))


def network_config(recipe: NetworkRecipe, recursions: int | None = None) -> MSRNConfig:
    """The network a recipe ends with, or with other recursions while it grows."""
    return MSRNConfig(
        recipe.memory_blocks,
        recursions or recipe.recursions,
        recipe.channels,
        recipe.in_channels,
        recipe.multi_supervised,
    )


def _recursions(run: Run) -> int:
    return run.network.config.recursions


def _start(recipe: Recipe, initial: MSRN | None, device: torch.device) -> Run:
    wanted = network_config(recipe.network, recipe.growth.start if recipe.growth else None)
    if initial is None:
        network = MSRN(wanted)
        start = recipe.network.ensemble_start
        weight = 1 / recipe.network.memory_blocks if start is None else start
        generator = torch.Generator().manual_seed(recipe.seed)
        initialise(network, generator, weight, recipe.network.zero_residual)
    else:
        smaller = initial.config.recursions <= wanted.recursions
        if not smaller or replace(initial.config, recursions=wanted.recursions) != wanted:
            raise UsageError(f"the recipe's network is {wanted}, the initial weights are {initial.config}")
        network = grow(initial, wanted.recursions)
    return _assemble(0, network, recipe, device)


def _grown(run: Run, recipe: Recipe, device: torch.device) -> Run:
    """Go on with all recursions: same function, fresh optimiser moments."""
    bigger = _assemble(run.step, grow(run.network, recipe.network.recursions), recipe, device)
    bigger.average.module.load_state_dict(grow(averaged(run), recipe.network.recursions).state_dict())
    bigger.average.n_averaged.copy_(run.average.n_averaged)
    return replace(bigger, seconds=run.seconds)


def _assemble(step: int, network: MSRN, recipe: Recipe, device: torch.device) -> Run:
    network = network.to(device)
    if device.type != "cpu" or choose_training_precision(device, "auto") != torch.float32:
        network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = recipe.network.batchnorm_momentum
    average = AveragedModel(network, multi_avg_fn=_moving_average(recipe.optimiser.ema_decay), use_buffers=True)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.optimiser.rate, weight_decay=recipe.optimiser.weight_decay, fused=True
    )
    return Run(step, network, average, optimiser)


def _moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential average whose memory grows with the run, so that the first steps are soon forgotten."""

    def update(averages: list[Tensor], values: list[Tensor], count: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, weight)
            else:  # BatchNorm's batch counter
                average.copy_(value)

    return update


def _state(run: Run, recipe: Recipe) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "step": run.step,
        "seconds": run.seconds,
        "recursions": _recursions(run),
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimiser": run.optimiser.state_dict(),
    }


def _restore(state: dict[str, Any], recipe: Recipe, device: torch.device) -> Run:
    changed = differences(_prolonged(validate(state["recipe"], "of the checkpoint"), recipe, state["step"]), recipe)
    if changed:
        raise UsageError("cannot resume, the recipe has changed: " + "; ".join(changed))
    run = _assemble(state["step"], MSRN(network_config(recipe.network, state["recursions"])), recipe, device)
    run.network.load_state_dict(state["network"])
    run.average.load_state_dict(state["average"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.seconds = state["seconds"]
    return run


def _prolonged(old: Recipe, new: Recipe, step: int) -> Recipe:
    """Take over from ``new`` what may change without changing the steps already made."""
    options = old.optimiser
    before = (learning_rate(options, step), learning_rate(options, 0))
    changed = options.model_copy(update={"steps": new.optimiser.steps, "decay_steps": new.optimiser.decay_steps})
    if (learning_rate(changed, step), learning_rate(changed, 0)) != before:
        return old
    freely = {"checkpoint_minutes": new.checkpoint_minutes, "evaluate_every": new.evaluate_every}
    return old.model_copy(update={"optimiser": changed, **freely})


def _set_training(network: MSRN, batchnorm: bool) -> None:
    network.train()
    if not batchnorm:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def _tensors(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(batch.degraded).to(device), torch.from_numpy(batch.clean).to(device)
