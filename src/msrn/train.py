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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from msrn import checkpoint
from msrn.data import PatchSampler, load_pack, read_folders, split
from msrn.degrade import Degradation, degradation_for, multiple_of
from msrn.engine import choose_device, choose_training_precision
from msrn.errors import MSRNError, UsageError
from msrn.metrics import psnr
from msrn.network import MSRN, Outputs
from msrn.recipe import LossRecipe, Recipe
from msrn.resident import ResidentSampler
from msrn.run import Run, grown, restore, start, state_of, update_average


@dataclass(frozen=True)
class Progress:
    """What :func:`fit` reports: after every step on a CPU, at times on a GPU; ``scores`` when it evaluated."""

    step: int
    steps: int
    loss: float
    gradient_norm: float
    rate: float
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


def train_step(
    forward: Callable[[Tensor], Outputs],
    network: MSRN,
    optimiser: torch.optim.Optimizer,
    degraded: Tensor,
    clean: Tensor,
    recipe: Recipe,
    precision: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """One forward pass, one backward pass, one optimiser step; returns (loss, gradient norm before clipping).

    Raises:
        MSRNError: the loss is not finite; the parameters are untouched. On a GPU, where looking at the loss would
            stall the queue, :func:`fit` looks from time to time instead, and always before it saves.
    """
    with torch.autocast(degraded.device.type, dtype=precision, enabled=precision != torch.float32):
        outputs = forward(degraded)
    full = Outputs(outputs.ensemble.float(), [image.float() for image in outputs.intermediate])
    loss = objective(full, clean, recipe.loss)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), recipe.optimiser.clip_norm)
    loss = loss.detach()
    if loss.device.type == "cpu":
        _check_finite(loss, norm)
    optimiser.step()
    return loss, norm


def _check_finite(loss: Tensor, norm: Tensor) -> tuple[float, float]:
    values = float(loss), float(norm)
    if not all(map(math.isfinite, values)):
        raise MSRNError(f"training diverged: loss {values[0]}, gradient norm {values[1]}; lower optimiser.rate")
    return values


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
    run = restore(checkpoint.load(newest), recipe, target) if newest else start(recipe, initial, target)
    sampler, validation = load_data(recipe, data_root, target)
    run_folder.mkdir(parents=True, exist_ok=True)
    (run_folder / "recipe.json").write_text(recipe.model_dump_json(indent=2) + "\n", encoding="utf-8")
    begun = last_saved = looked = time.monotonic()
    seconds_before, looked_at = run.seconds, run.step
    forward: Callable[[Tensor], Outputs] | None = None
    options = recipe.optimiser
    with _signals() as asked, (run_folder / "log.jsonl").open("a", encoding="utf-8") as log:
        while run.step < options.steps:
            if (
                recipe.growth
                and run.step >= recipe.growth.step
                and run.network.config.recursions < recipe.network.recursions
            ):
                run, forward = grown(run, recipe, target), None
            if forward is None:
                forward = torch.compile(run.network.all_outputs) if compiled else run.network.all_outputs
            rate = options.rate_at(run.step)
            for group in run.optimiser.param_groups:
                group["lr"] = rate
            _set_training(run.network, batchnorm=not options.frozen_at(run.step))
            pair = sampler.batch(run.step * options.batch, options.batch)
            degraded, clean = (_tensor(part, target) for part in pair)
            loss, norm = train_step(forward, run.network, run.optimiser, degraded, clean, recipe, dtype)
            update_average(run.average, run.network, run.step, options.ema_decay)
            run.step += 1

            now = time.monotonic()
            run.seconds = seconds_before + now - begun
            finished, stopping = run.step == options.steps, asked.stop
            timed_out = minutes is not None and now - begun >= 60 * minutes
            saving = finished or stopping or timed_out or now - last_saved >= 60 * recipe.checkpoint_minutes
            evaluating = finished or run.step % recipe.evaluate_every == 0
            logging = evaluating or run.step % 50 == 0
            if not (saving or logging or target.type == "cpu"):
                continue
            values = _check_finite(loss, norm)
            scores = validate_network(run.average, validation, recipe) if evaluating else None
            speed = (run.step - looked_at) * options.batch / (now - looked)
            progress = Progress(run.step, options.steps, *values, rate, speed, run.seconds, scores)
            looked, looked_at = time.monotonic(), run.step
            if logging:
                log.write(json.dumps({key: value for key, value in vars(progress).items() if value is not None}) + "\n")
                log.flush()
            if saving:
                checkpoint.save(run_folder, run.step, state_of(run, recipe))
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


def load_data(
    recipe: Recipe, data_root: Path, device: torch.device
) -> tuple[PatchSampler | ResidentSampler, list[NDArray[np.uint8]]]:
    """Read the recipe's images: a sampler over the training part, and centre crops of the held-out part.

    ``data_root`` is the folder of the recipe's folders, or a file made by ``msrn pack`` from them.
    """
    images = _read_images(recipe, data_root)
    training, held_out = split(images, recipe.data.validation_every)
    degradation = degradation_for(recipe.task, recipe.data.levels)
    if recipe.data.resident:
        sampler = ResidentSampler(training, degradation, recipe.data.patch, recipe.seed, device)
    else:
        sampler = PatchSampler(training, degradation, recipe.data.patch, recipe.seed)
    side = recipe.data.validation_crop
    corners = [[max(0, (length - side) // 2) for length in image.shape[1:]] for image in held_out]
    return sampler, [
        image[:, top : top + side, left : left + side] for image, (top, left) in zip(held_out, corners, strict=True)
    ]


def _read_images(recipe: Recipe, data_root: Path) -> list[NDArray[np.uint8]]:
    channels, color_range = recipe.network.in_channels, recipe.data.luminance
    if not data_root.is_file():
        folders = [data_root / folder for folder in recipe.data.folders]
        return read_folders(folders, channels, color_range).images
    pack = load_pack(data_root)
    if len(pack.images[0]) != channels or (channels == 1 and pack.color_range != color_range):
        raise UsageError(
            f"{data_root} holds {len(pack.images[0])} channels in {pack.color_range} range, "
            f"the recipe wants {channels} in {color_range} range"
        )
    return pack.images


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


def _set_training(network: MSRN, batchnorm: bool) -> None:
    network.train()
    if not batchnorm:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def _tensor(values: Tensor | NDArray[np.float32], device: torch.device) -> Tensor:
    return values if isinstance(values, Tensor) else torch.from_numpy(values).to(device)
