"""Training, readable from top to bottom: :func:`fit` is the loop, :func:`train_step` one optimiser step.

Everything random is drawn by (seed, step), nothing from global state, so a run that was stopped and resumed
equals one that was not, bit for bit, on the same machine.
"""

import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msrn.errors import MSRNError, OutputError, UsageError
from msrn.evaluation.metrics import psnr
from msrn.images.degradations import Degradation, degradation_for
from msrn.images.resize import multiple_of
from msrn.network.memnet import MSRN, Outputs
from msrn.network.weights import Weights
from msrn.restoration.device import choose_device
from msrn.system.atomic import write_atomically
from msrn.system.machine import keep_freed_memory
from msrn.training import checkpoint
from msrn.training.distributed import World, world
from msrn.training.loader import Feed, Pairs, load_material
from msrn.training.log import LOGGED_EVERY, Journal, Observe, Progress
from msrn.training.loss import objective
from msrn.training.recipe import Recipe
from msrn.training.state import (
    Run,
    Setting,
    choose_training_precision,
    go_on_with,
    grown,
    identity_of,
    is_grown,
    restore,
    start,
    state_of,
    update_average,
)

_JOB = ".job"
_EQUAL = 100.0
Forward = Callable[[Tensor], Outputs]


def fit(
    recipe: Recipe,
    data_root: Path,
    run_folder: Path,
    *,
    resume: bool = False,
    initial: Weights | None = None,
    device: str = "auto",
    precision: str = "auto",
    compiled: bool = False,
    deterministic: bool = False,
    tensorboard: bool = False,
    minutes: float | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Run:
    """Train a recipe to its end, or until ``minutes`` are over, and leave a checkpoint.

    Started by ``torchrun``, the processes share every batch; after a restart of the group they resume by themselves.

    Args:
        recipe: what to train, on what, how.
        data_root: where the recipe's image folders are.
        run_folder: receives checkpoints, ``recipe.json``, ``data_root`` and ``log.jsonl``.
        resume: go on from the newest checkpoint in ``run_folder``.
        initial: start from these weights instead of random ones (fine-tuning).
        device: ``auto`` or a torch device.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        compiled: use ``torch.compile``, which is meant for GPUs.
        deterministic: allow only operations that give the same bits every time; slower on GPUs.
        tensorboard: also write curves and pictures for TensorBoard.
        minutes: stop early, with a checkpoint; the schedule does not change.
        report: called after every step, in the leading process only.

    Raises:
        UsageError: the run folder is in use, or the recipe does not fit its checkpoint.
        WeightsError: the checkpoint cannot be read.
        OutputError: the run folder cannot be written; the last checkpoint is intact.
        MSRNError: training diverged, or another process of the group was lost.
        KeyboardInterrupt: SIGINT, SIGTERM or SIGHUP came; the step at hand was finished and a checkpoint left.
    """
    with ExitStack() as stack:
        everyone = stack.enter_context(world(device))
        target = choose_device(device if everyone.size == 1 else _device_of(device, everyone))
        setting = Setting(target, choose_training_precision(target, precision), everyone)
        stack.enter_context(torch.random.fork_rng(devices=[]))  # which layers draw from before they are initialised
        if resume and checkpoint.latest(run_folder) is None:
            raise UsageError(f"nothing to resume in {run_folder}: it holds no checkpoint")
        if everyone.leads:
            stack.enter_context(_owned(run_folder))
        begun_before = checkpoint.latest(run_folder) is not None
        ours = everyone.leads and bool(everyone.job) and _job_of(run_folder) == everyone.job
        again = everyone.any(begun_before and ours, target)
        if begun_before and not (resume or again):
            raise UsageError(f"{run_folder} already holds a run; add --resume to continue it, or choose another folder")
        if deterministic:
            stack.enter_context(_deterministic())
        if target.type == "cpu":
            keep_freed_memory()
        if begun_before:
            run = restore(checkpoint.resume(run_folder), recipe, setting)
        else:
            run = start(recipe, initial, setting)
        material = load_material(recipe, data_root, target)
        go_on_with(run, material.digest, setting.precision)
        everyone.agree(identity_of(run) + recipe.model_dump_json(), target)
        if everyone.leads and everyone.job:
            write_atomically(run_folder / _JOB, lambda file: file.write(everyone.job.encode()))
        feed = Feed(material, recipe, everyone, target)
        stack.callback(feed.close)
        journal = (
            stack.enter_context(Journal(run_folder, recipe, run, data_root, tensorboard)) if everyone.leads else None
        )
        asked = stack.enter_context(_signals())
        if journal and run.step == 0:  # what the first scores are to be compared with
            scores = validate_network(run.average, material.held_out, recipe, journal.observe(0))
            before = Progress(0, recipe.optimiser.steps, math.nan, math.nan, 0.0, 0.0, 0.0, scores=scores)
            journal.write(before, run)
            report(before)

        begun = last_saved = looked = time.monotonic()
        durations = deque[float](maxlen=LOGGED_EVERY)
        seconds_before = run.seconds
        forward: Forward | None = None
        options = recipe.optimiser
        while run.step < options.steps:
            if recipe.growth and run.step >= recipe.growth.step and not is_grown(run, recipe):
                run, forward = grown(run, recipe, setting), None
            if forward is None:
                forward = choose_forward(run.network, compiled, setting)
            rate = options.rate_at(run.step)
            try:
                loss, norm = train_step(run, forward, feed.parts(run.step), recipe, setting, rate)
            except MSRNError as error:
                if journal:
                    journal.note({"step": run.step, "stopped": str(error)})
                raise
            now = time.monotonic()
            durations.append(now - looked)
            run.seconds = seconds_before + now - begun
            finished = run.step == options.steps
            timed_out = minutes is not None and now - begun >= 60 * minutes
            stopping = everyone.any(asked.stop or timed_out, target)
            due = now - last_saved >= 60 * recipe.checkpoint_minutes
            # Not while steps are skipped: if that ends the run, what was good before is worth keeping.
            saving = finished or stopping or (due and not run.skipped_in_a_row)
            if journal:
                scores, best = None, False
                if finished or run.step % recipe.evaluate_every == 0:
                    scores = validate_network(run.average, material.held_out, recipe, journal.observe(run.step))
                    mean = sum(scores.values()) / len(scores)
                    best = is_grown(run, recipe) and mean > run.best and not run.skipped_in_a_row
                    run.best = mean if best else run.best
                speed = options.batch * len(durations) / sum(durations)
                progress = Progress(run.step, options.steps, loss, norm, rate, speed, run.seconds, run.skipped, scores)
                journal.write(progress, run)
                if saving or best:
                    checkpoint.save(run_folder, run.step, state_of(run, recipe), recipe.keep, best)
                    last_saved = time.monotonic()
                report(progress)
            looked = time.monotonic()
            if finished or stopping:
                break
        if asked.stop and run.step < options.steps:
            raise KeyboardInterrupt
    return run


def choose_forward(network: MSRN, compiled: bool, setting: Setting) -> Forward:
    """Return what computes a network's outputs in training fastest: itself, or compiled."""
    if compiled:
        return torch.compile(network.all_outputs, dynamic=False)
    return network.all_outputs


def train_step(
    run: Run, forward: Forward, parts: Pairs, recipe: Recipe, setting: Setting, rate: float
) -> tuple[float, float]:
    """One batch, forward and backward in parts, and one optimiser step.

    A step whose loss or gradient is not finite changes nothing but the count of skipped steps.

    Args:
        run: advanced by one step, in place.
        forward: the network's, plain or compiled.
        parts: this process's share of the batch, (degraded, clean) pairs.
        recipe: objective and optimiser.
        setting: where and how to compute.
        rate: the learning rate.

    Returns:
        Loss, and gradient norm before clipping, of the whole batch in all processes.

    Raises:
        MSRNError: more steps in a row were skipped than the recipe allows.
    """
    options, network, everyone = recipe.optimiser, run.network, setting.everyone
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    _set_training(network, batchnorm=not options.frozen_at(run.step))
    statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    kept: list[Tensor] = torch._foreach_add(statistics, 0.0)  # pyright: ignore  # a copy, in few kernels
    run.optimiser.zero_grad(set_to_none=True)
    losses: list[Tensor] = []
    for degraded, clean in parts:
        half = setting.precision != torch.float32
        with torch.autocast(setting.device.type, dtype=setting.precision, enabled=half):
            outputs = forward(degraded)
        full = Outputs(outputs.ensemble.float(), [image.float() for image in outputs.intermediate])
        loss = objective(full, clean, recipe.loss) / len(parts)
        run.scaler.scale(loss).backward()
        losses.append(loss.detach())
    total = torch.stack(losses).sum()
    everyone.average([total, *(p.grad for p in network.parameters() if p.grad is not None)])
    run.scaler.unscale_(run.optimiser)
    norm = nn.utils.clip_grad_norm_(network.parameters(), options.clip_at(rate))
    values = total.item(), norm.item()
    if all(map(math.isfinite, values)):
        run.scaler.step(run.optimiser)
        run.skipped_in_a_row = 0
        update_average(run.average, network, run.step, options.ema_decay)
    else:
        torch._foreach_copy_(statistics, kept)  # pyright: ignore
        run.skipped += 1
        run.skipped_in_a_row += 1
    run.scaler.update()
    run.step += 1
    if run.skipped_in_a_row > options.skip_limit:
        raise MSRNError(
            f"training diverged: {run.skipped_in_a_row} steps in a row up to step {run.step} were skipped (loss "
            f"{values[0]}, gradient norm {values[1]}); the last checkpoint is from before: begin again with a lower "
            "optimiser.rate, from --init-from the file that `msrn publish` makes of it"
        )
    return values


@torch.no_grad()
def validate_network(
    network: MSRN, images: Sequence[NDArray[np.uint8]], recipe: Recipe, observe: Observe | None = None
) -> dict[str, float]:
    """Mean PSNR in dB on held-out crops for each level, unrounded, whole crop; a run's own yardstick.

    An image that came back as it was counts as 100 dB, one that is not finite as 0. Noise is independent in all
    colours, JPEGs have the first of the recipe's subsamplings. ``observe`` receives the first crop at each level: its
    name, then degraded, restored and clean, ``(C, H, W)``.
    """
    levels, subsampling = recipe.data.validation_levels, recipe.data.subsampling[:1]
    degradation: Degradation = degradation_for(recipe.task, levels, subsampling=subsampling)
    device = next(network.parameters()).device
    network.eval()
    scores: dict[str, float] = {}
    for level in levels:
        values: list[float] = []
        for index, image in enumerate(images):
            clean = multiple_of(image, degradation.multiple(level)).astype(np.float32) / np.float32(255)
            degraded = degradation.apply(clean, level, np.random.default_rng((recipe.seed, index)))
            restored = network(torch.from_numpy(degraded)[None].to(device))[0].cpu().numpy()
            finite = bool(np.isfinite(restored).all())
            values.append(min(psnr(restored, clean, data_range=1), _EQUAL) if finite else 0.0)
            if observe and index == 0:
                observe(f"{level:g}", degraded, restored, clean)
        scores[f"{level:g}"] = float(np.mean(values))
    return scores


def _set_training(network: MSRN, batchnorm: bool) -> None:
    network.train()
    if not batchnorm:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


@contextmanager
def _owned(folder: Path) -> Generator[None]:
    """Keep a second process from training in the same folder; the system lets go when this one dies."""
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise UsageError(f"another process is training in {folder}") from error
    except OSError as error:
        raise OutputError(f"cannot train in {folder}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def _job_of(folder: Path) -> str:
    """Which job of torchrun began the run in a folder; its other attempts go on with it."""
    try:
        return (folder / _JOB).read_text()
    except (OSError, ValueError):
        return ""


@contextmanager
def _deterministic() -> Generator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without which CUDA's matrix products refuse
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _device_of(device: str, everyone: World) -> str:
    """Each process of a machine has a GPU of its own."""
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return f"cuda:{everyone.local_rank}" if on_gpu else device


@dataclass
class _Asked:
    """Whether a signal has asked the run to stop."""

    stop: bool = False


@contextmanager
def _signals() -> Generator[_Asked]:
    """Turn SIGINT, SIGTERM and SIGHUP into a wish that the loop reads between steps, when its state is whole."""
    asked = _Asked()

    def ask(number: int, frame: object) -> None:
        asked.stop = True

    if threading.current_thread() is not threading.main_thread():  # where signals cannot be caught
        yield asked
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # nohup ignores it
        numbers.append(hangup)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
