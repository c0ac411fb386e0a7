"""The state of a training run, saved atomically and resumed bit for bit.

A checkpoint is not a weights file: it also holds the optimiser, the averaged network, the position in the
data and the recipe. It is read without unpickling anything but tensors and plain values.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from msrn.atomic import write_atomically
from msrn.errors import WeightsError

TEMPORARY = ".msrn-*.tmp"
"""What an interrupted write leaves."""


def path_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / f"checkpoint-{step:08d}.ckpt"


def latest(run: Path) -> Path | None:
    """The newest checkpoint of a run folder, or None."""
    return max(run.glob("checkpoint-*.ckpt"), default=None)


def best_of(run: Path) -> Path:
    """Where the checkpoint with the best held-out score lies, if there is one."""
    return run / "best.ckpt"


def save(run: Path, step: int, state: dict[str, Any], keep: int = 2, best: bool = False) -> Path:
    """Write a checkpoint, as the best one too if it is, and drop all but the ``keep`` newest.

    Raises:
        OutputError: it cannot be written; the earlier ones are intact.
    """
    path = path_of(run, step)
    buffer = io.BytesIO()  # as torch.save hides why a file could not be written
    torch.save(state, buffer)
    for target in (path, best_of(run)) if best else (path,):
        write_atomically(target, lambda file: file.write(buffer.getbuffer()))
    for old in [*sorted(run.glob("checkpoint-*.ckpt"))[:-keep], *run.glob(TEMPORARY)]:
        old.unlink(missing_ok=True)
    return path


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        WeightsError: missing, damaged, or not a checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"cannot read checkpoint {path}: {error.strerror or error}") from error
    except (RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or not a checkpoint of this program: {error}") from error
    if not isinstance(state, dict) or "recipe" not in state:
        raise WeightsError(f"{path} is not a training checkpoint of this program")
    return state
