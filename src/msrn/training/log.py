"""What a run writes down for people to read: its recipe, a line of JSON now and then, TensorBoard's files."""

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from msrn.errors import OutputError
from msrn.network.memnet import MSRN
from msrn.system.atomic import write_atomically
from msrn.system.extras import missing
from msrn.training.held_out import Example
from msrn.training.recipe import Recipe

LOGGED_EVERY = 50
"""Steps between two lines."""
_DATA_ROOT = "data_root"
_CURVES = {
    "loss": "training/loss",
    "gradient_norm": "training/gradient norm",
    "rate": "training/rate",
    "skipped": "training/skipped steps",
    "patches_per_second": "speed/patches per second",
}
"""TensorBoard's name of each value."""


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
    """Steps so far whose loss or gradient was not finite."""
    scores: dict[str, float] | None = None
    """Held-out PSNR in dB by level, where it was measured."""


class RunLog:
    """The run folder's readable part: ``recipe.json``, ``data_root``, ``log.jsonl``, TensorBoard's files on request.

    A run goes on at ``step``: what an attempt that was killed had logged after it is dropped.

    Raises:
        UsageError: TensorBoard is not installed.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, recipe: Recipe, data_root: Path, step: int, tensorboard: bool) -> None:
        self.path = folder / "log.jsonl"
        lines = self.path.read_bytes().splitlines() if step and self.path.exists() else []
        contents = {
            "recipe.json": f"{recipe.model_dump_json(indent=2)}\n".encode(),
            _DATA_ROOT: os.fsencode(data_root.absolute()),
            self.path.name: b"".join(line + b"\n" for line in lines if _step_of(line) <= step),
        }
        for name, content in contents.items():
            write_atomically(folder / name, lambda file, content=content: file.write(content))
        self._board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard.writer import SummaryWriter
            except ImportError as error:
                raise missing("--tensorboard", "tensorboard", "train") from error
            # Purging hides what an earlier attempt wrote of later steps.
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)

    def __enter__(self) -> "RunLog":
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # of a full disk, which has been reported
            self._file.close()
        if self._board:
            self._board.close()

    @property
    def shows_pictures(self) -> bool:
        """Whether :meth:`pictures` has a place for them."""
        return self._board is not None

    def progress(self, now: Progress, average: MSRN) -> None:
        """Log a step: what is known of it, for TensorBoard also the averaged network's ensemble weights w_m."""
        known = {key: value for key, value in vars(now).items() if value is not None}
        values = {key: value for key, value in known.items() if key == "scores" or math.isfinite(value)}
        self.note(values)
        if not self._board:
            return
        points = {name: values[key] for key, name in _CURVES.items() if key in values}
        points |= {f"held-out PSNR/{level}": score for level, score in (now.scores or {}).items()}
        if average.config.multi_supervised:
            points |= {f"ensemble/w_{number}": weight for number, weight in enumerate(average.ensemble.tolist(), 1)}
        for name, value in points.items():
            self._board.add_scalar(name, value, now.step)
        self._board.flush()

    def pictures(self, step: int, examples: Mapping[str, Example]) -> None:
        """Show an example of each level in TensorBoard: degraded, restored and clean side by side."""
        for level, example in examples.items():
            row = np.concatenate(example, axis=2).clip(0, 1)
            self._board.add_image(f"degraded, restored, clean/{level}", row, step)

    def note(self, values: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self._file.write(json.dumps(values, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}; the last checkpoint is intact") from error


def data_root_of(folder: Path) -> Path | None:
    """Where a run last found its images, if it says so."""
    with suppress(OSError):
        return Path(os.fsdecode((folder / _DATA_ROOT).read_bytes()))
    return None


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf  # half a line, from a process that was killed
