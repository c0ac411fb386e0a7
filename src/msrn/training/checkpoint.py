"""The state of a training run, saved atomically and resumed bit for bit.

A checkpoint is not a weights file: it also holds the optimiser, the averaged network, the position in the
data and the recipe. It is read without unpickling anything but tensors and plain values.
"""

import io
import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from msrn.errors import WeightsError
from msrn.system.atomic import write_atomically

logger = logging.getLogger(__name__)

TEMPORARY = ".msrn-*.tmp"
"""What an interrupted write leaves."""
_CONTENT = {
    "recipe": dict,
    "step": int,
    "recursions": int,
    "network": dict,
    "average": dict,
    "optimiser": dict,
    "scaler": dict,
    "seconds": float,
    "best": float,
    "skipped": int,
    "skipped_in_a_row": int,
}


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
    """Write a checkpoint, as the best one too if it is, and drop all but the ``keep`` newest up to it.

    Raises:
        OutputError: it cannot be written; the earlier ones are intact.
    """
    path = path_of(run, step)
    buffer = io.BytesIO()  # as torch.save hides why a file could not be written
    torch.save(state, buffer)
    # The best one first: a run that is killed between the two will reach this step, and this score, once more.
    for target in (best_of(run), path) if best else (path,):
        write_atomically(target, lambda file: file.write(buffer.getbuffer()))
    there = sorted(run.glob("checkpoint-*.ckpt"))
    later = [other for other in there if other > path]  # which were damaged, or the run would have gone on from them
    earlier = [other for other in there if other <= path]
    for old in (*later, *earlier[:-keep], *run.glob(TEMPORARY)):
        old.unlink(missing_ok=True)
    return path


def resume(run: Path) -> dict[str, Any]:
    """Read the newest checkpoint that is sound; those that are damaged are named in a warning.

    Raises:
        WeightsError: there is none, or the newest cannot be read at the moment: the run would go on without it.
    """
    paths = sorted(run.glob("checkpoint-*.ckpt"), reverse=True)
    for path, older in zip(paths, [*paths[1:], None], strict=True):
        try:
            return load(path)
        except WeightsError as error:
            if older is None or isinstance(error.__cause__, OSError | MemoryError):
                raise
            logger.warning("%s; going on from %s", error, older.name)
    raise WeightsError(f"{run} holds no checkpoint")


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        WeightsError: missing, damaged (checksums are compared), or not a checkpoint.
    """
    foreign = f"{path} is damaged or not a checkpoint of this program"
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as parts:  # which torch does not compare with its checksums
                if damaged := parts.testzip():
                    raise zipfile.BadZipFile(f"{damaged} is not what was written")
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, MemoryError) as error:
        said = getattr(error, "strerror", None) or str(error) or "too little memory"
        raise WeightsError(f"cannot read checkpoint {path}: {said}") from error
    except pickle.UnpicklingError as error:  # whose message advises to unpickle what nobody should
        raise WeightsError(foreign) from error
    except Exception as error:  # hostile bytes have many ways
        raise WeightsError(f"{foreign}: {error}") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{foreign}: it holds no state")
    for name, kind in _CONTENT.items():
        if not isinstance(state.get(name), kind):
            raise WeightsError(f"{foreign}: its {name!r} is missing or wrong")
    return state
