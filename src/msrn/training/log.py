"""What a run writes down for people to read: its recipe, a line of JSON now and then, TensorBoard's files."""

import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.errors import OutputError
from msrn.system.atomic import write_atomically
from msrn.training.recipe import Recipe
from msrn.training.state import Run
from msrn.training.tensorboard import Board

LOGGED_EVERY = 50
"""Steps between two lines."""
_DATA_ROOT = "data_root"
Observe = Callable[[str, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], None]


@dataclass(frozen=True)
class Progress:
    """What :func:`~msrn.training.trainer.fit` reports: before the first step (loss, norm: NaN), then after each."""

    step: int
    steps: int
    loss: float
    gradient_norm: float
    rate: float
    patches_per_second: float
    """Over the last steps, scoring and saving aside."""
    seconds: float
    skipped: int = 0
    scores: dict[str, float] | None = None
    """Held-out PSNR in dB by level, where it was measured."""


class Journal:
    """The run folder's readable part: ``recipe.json``, ``data_root``, ``log.jsonl``, TensorBoard's files on request."""

    def __init__(self, folder: Path, recipe: Recipe, run: Run, data_root: Path, tensorboard: bool) -> None:
        text = recipe.model_dump_json(indent=2) + "\n"
        write_atomically(folder / "recipe.json", lambda file: file.write(text.encode()))
        write_atomically(folder / _DATA_ROOT, lambda file: file.write(os.fsencode(data_root.absolute())))
        self.path = folder / "log.jsonl"
        # A run that was killed has logged steps that its checkpoint does not know; they will be made again.
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        kept = [line for line in lines if _step_of(line) <= run.step] if run.step else []
        write_atomically(self.path, lambda file: file.write("".join(f"{line}\n" for line in kept).encode()))
        self.board = Board(folder / "tensorboard", run.step) if tensorboard else None

    def __enter__(self) -> "Journal":
        self.file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # of a full disk, which has been reported
            self.file.close()
        if self.board:
            self.board.close()

    def write(self, progress: Progress, run: Run) -> None:
        """Log a step, if it has scores, was skipped, or its turn has come."""
        if progress.scores is None and progress.step % LOGGED_EVERY and not run.skipped_in_a_row:
            return
        known = {key: value for key, value in vars(progress).items() if value is not None}
        values = {key: value for key, value in known.items() if key == "scores" or math.isfinite(value)}
        self.note(values)
        if self.board:
            ensemble = run.average.ensemble.tolist() if run.average.config.multi_supervised else []
            self.board.scalars(progress.step, values, ensemble)

    def note(self, values: dict[str, Any]) -> None:
        """Append a line."""
        try:
            self.file.write(json.dumps(values, allow_nan=False) + "\n")
            self.file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}; the last checkpoint is intact") from error

    def observe(self, step: int) -> Observe | None:
        """What :func:`msrn.training.trainer.validate_network` shows its pictures to."""
        return partial(self.board.pictures, step) if self.board else None


def data_root_of(folder: Path) -> Path | None:
    """Where a run last found its images, if it says so."""
    with suppress(OSError):
        return Path(os.fsdecode((folder / _DATA_ROOT).read_bytes()))
    return None


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf  # half a line, from a process that was killed
