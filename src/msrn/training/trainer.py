"""Training, readable from top to bottom: :func:`fit` prepares a run, :class:`Trainer` is its loop.

Everything random is drawn by (seed, step), nothing from global state, so a run that was stopped and resumed
equals one that was not, bit for bit, on the same machine.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from msrn.errors import MSRNError, UsageError
from msrn.network.memnet import Outputs
from msrn.network.weights import Weights
from msrn.system.atomic import write_atomically
from msrn.system.locks import locked
from msrn.training import checkpoint
from msrn.training.held_out import HeldOut, restorer_of
from msrn.training.loader import load_material
from msrn.training.log import LOGGED_EVERY, Progress, RunLog
from msrn.training.loss import objective
from msrn.training.patches import Feed, Pairs
from msrn.training.recipe import Recipe
from msrn.training.setting import Computing, Setting, settled
from msrn.training.signals import Signals, caught_signals
from msrn.training.state import TrainingRun, resume_run, start_run

Report = Callable[[Progress], None]
MEASURED_ON = 8
"""Steps whose batches show a network that has grown what its new recursions see."""
_JOB = ".job"
"""Names the job of torchrun that began a run: its other attempts go on with it."""


def fit(
    recipe: Recipe,
    data_root: Path,
    folder: Path,
    computing: Computing = Computing(),  # noqa: B008  # frozen
    *,
    resume: bool = False,
    initial: Weights | None = None,
    tensorboard: bool = False,
    minutes: float | None = None,
    report: Report = lambda progress: None,
) -> TrainingRun:
    """Train a recipe to its end, or until ``minutes`` are over, and leave a checkpoint.

    Started by ``torchrun``, the processes share every batch; after a restart of the group they resume by themselves.

    Args:
        recipe: what to train, on what, how.
        data_root: where the recipe's image folders are, or a file from ``msrn pack``.
        folder: of the run; receives checkpoints, ``recipe.json``, ``data_root`` and ``log.jsonl``.
        computing: device, precision and the like.
        resume: go on from the newest checkpoint in the folder.
        initial: start from these weights instead of random ones (fine-tuning).
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
        setting = stack.enter_context(settled(computing))
        everyone = setting.everyone
        if resume and checkpoint.latest(folder) is None:
            raise UsageError(f"nothing to resume in {folder}: it holds no checkpoint")
        if everyone.leads:
            stack.enter_context(locked(folder, f"another process is training in {folder}", UsageError))
        if _goes_on(folder, resume, setting):
            run = resume_run(checkpoint.resume(folder), recipe, setting)
        else:
            run = start_run(recipe, initial, setting)
        material = load_material(recipe, data_root, setting.device)
        feed = stack.enter_context(Feed(material.sampler, recipe.optimiser, everyone, setting.device))
        run.settle_on(material.digest)
        everyone.agree(run.fingerprint, setting.device)
        log = None
        if everyone.leads:
            if everyone.job:
                write_atomically(folder / _JOB, lambda file: file.write(everyone.job.encode()))
            log = stack.enter_context(RunLog(folder, recipe, data_root, run.step, tensorboard))
        asked = stack.enter_context(caught_signals())
        trainer = Trainer(run, folder, feed, material.held_out, log, report)
        trainer.train(math.inf if minutes is None else 60 * minutes, asked)
        return run


class Step(NamedTuple):
    """What a step was like, over the whole batch in all processes."""

    loss: float
    gradient_norm: float
    """Before clipping."""
    rate: float


class Trainer:
    """A run and everything that it is trained with. Only the leading process, which has a log, scores and saves."""

    def __init__(
        self, run: TrainingRun, folder: Path, feed: Feed, held_out: HeldOut, log: RunLog | None, report: Report
    ) -> None:
        self.run, self.recipe, self.folder = run, run.recipe, folder
        self.feed, self.held_out, self.log, self.report = feed, held_out, log, report
        self.saved = time.monotonic()
        """When the last checkpoint was written."""

    def train(self, seconds: float, asked: Signals) -> None:
        """Step until the recipe's end, the end of the time, or a signal.

        Raises:
            KeyboardInterrupt: a signal came.
        """
        run, steps = self.run, self.recipe.optimiser.steps
        if run.step == 0 and self.log:
            untrained = Progress(0, steps, math.nan, math.nan, 0.0, 0.0, 0.0, scores=self.evaluate())
            self.log.progress(untrained, run.average)
            self.report(untrained)
        begun = self.saved = time.monotonic()
        before, ending = run.seconds, False
        durations = deque[float](maxlen=LOGGED_EVERY)
        while run.step < steps and not ending:
            began = time.monotonic()
            result = self.step()
            now = time.monotonic()
            durations.append(now - began)
            run.seconds = before + now - begun
            ending = run.setting.everyone.any(asked.stop or now - begun >= seconds, run.setting.device)
            self.record(result, len(durations) / sum(durations), ending)
        if asked.stop and run.step < steps:
            raise KeyboardInterrupt

    def step(self) -> Step:
        """Take one step, with all recursions from the recipe's step on."""
        run, growth = self.run, self.recipe.growth
        if growth and run.step >= growth.step and not run.is_grown:
            run.grow()
        if not run.is_measured:
            steps = range(run.step, run.step + MEASURED_ON)
            run.measure([degraded for step in steps for degraded, _ in self.feed.parts(step)])
        try:
            return train_step(run, self.feed.parts(run.step))
        except MSRNError as error:
            if self.log:
                self.log.note({"step": run.step, "stopped": str(error)})
            raise

    def record(self, result: Step, steps_per_second: float, ending: bool) -> None:
        """Score, log, save and report a step, whatever of these is due."""
        if not self.log:
            return
        run, recipe, options = self.run, self.recipe, self.recipe.optimiser
        finished = run.step == options.steps
        scores = self.evaluate() if finished or run.step % recipe.evaluate_every == 0 else None
        best = self.is_best(scores)
        speed = steps_per_second * options.batch
        now = Progress(run.step, options.steps, *result, speed, run.seconds, run.skipped, scores)
        if scores or run.step % LOGGED_EVERY == 0 or run.skipped_in_a_row:
            self.log.progress(now, run.average)
        # Not while steps are skipped: if that ends the run, what was good before is worth keeping.
        due = time.monotonic() - self.saved >= 60 * recipe.checkpoint_minutes and not run.skipped_in_a_row
        if finished or ending or due or best:
            checkpoint.save(self.folder, run.step, run.state(), recipe.keep, best)
            self.saved = time.monotonic()
        self.report(now)

    def evaluate(self) -> dict[str, float]:
        """Score the averaged network on the held-out images."""
        restore = restorer_of(self.run.average)
        if self.log and self.log.shows_pictures:
            self.log.pictures(self.run.step, self.held_out.pictures(restore))
        return self.held_out.score(restore)

    def is_best(self, scores: dict[str, float] | None) -> bool:
        """Whether no step before scored as high, which is then remembered; networks that still grow do not count."""
        run = self.run
        if not scores or run.skipped_in_a_row or not run.is_grown:
            return False
        mean = sum(scores.values()) / len(scores)
        best = mean > run.best
        run.best = max(mean, run.best)
        return best


def train_step(run: TrainingRun, parts: Pairs) -> Step:
    """One optimiser step of a run, on this process's share of a batch: in parts, (degraded, clean) each.

    A step whose loss or gradient is not finite changes nothing but the count of skipped steps.

    Raises:
        MSRNError: more steps in a row were skipped than the recipe allows.
    """
    network, options = run.network, run.recipe.optimiser
    rate = options.rate_at(run.step)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    network.train()
    if options.frozen_at(run.step):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    kept: list[Tensor] = torch._foreach_add(statistics, 0.0)  # pyright: ignore  # a copy, in few kernels
    run.optimiser.zero_grad(set_to_none=True)
    total = torch.stack([_backward(run, *pair, len(parts)) for pair in parts]).sum()
    run.setting.everyone.average([total, *(p.grad for p in network.parameters() if p.grad is not None)])
    run.scaler.unscale_(run.optimiser)
    norm = nn.utils.clip_grad_norm_(network.parameters(), options.clip_at(rate))
    result = Step(total.item(), norm.item(), rate)
    if math.isfinite(result.loss) and math.isfinite(result.gradient_norm):
        run.scaler.step(run.optimiser)
        run.skipped_in_a_row = 0
        run.update_average()
    else:
        torch._foreach_copy_(statistics, kept)  # pyright: ignore
        run.skipped += 1
        run.skipped_in_a_row += 1
    run.scaler.update()
    run.step += 1
    if run.skipped_in_a_row > options.skip_limit:
        raise MSRNError(
            f"training diverged: {run.skipped_in_a_row} steps in a row up to step {run.step} were skipped (loss "
            f"{result.loss}, gradient norm {result.gradient_norm}); the last checkpoint is from before: begin again "
            "with a lower optimiser.rate, from --init-from the file that `msrn publish` makes of it"
        )
    return result


def _backward(run: TrainingRun, degraded: Tensor, clean: Tensor, parts: int) -> Tensor:
    """Add a part's share to the gradients; returns its share of the loss."""
    precision = run.setting.precision
    with torch.autocast(run.setting.device.type, dtype=precision, enabled=precision != torch.float32):
        outputs = run.forward(degraded)
    full = Outputs(outputs.ensemble.float(), [image.float() for image in outputs.intermediate])
    share = objective(full, clean, run.recipe.loss) / parts
    run.scaler.scale(share).backward()
    return share.detach()


def _goes_on(folder: Path, resume: bool, setting: Setting) -> bool:
    """Whether to go on with the run that a folder holds: asked to, or begun by the same job of torchrun.

    Raises:
        UsageError: it holds one that may not be gone on with.
    """
    everyone, job = setting.everyone, folder / _JOB
    begun = checkpoint.latest(folder) is not None
    ours = everyone.leads and job.is_file() and job.read_bytes() == everyone.job.encode() != b""
    again = everyone.any(begun and ours, setting.device)
    if begun and not (resume or again):
        raise UsageError(f"{folder} already holds a run; add --resume to continue it, or choose another folder")
    return begun
