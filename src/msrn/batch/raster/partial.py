"""A raster's result while it is made: a GeoTIFF in a hidden folder beside the target, and a journal of its windows.

A window is in the journal when its pixels are on disk. A program that is killed loses what it made in the last seconds;
the next one goes on with what the journal does not have. Finished, the file gets its name, and the folder is gone.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from msrn.errors import OutputError
from msrn.images.raster import Window, open_dataset, rasterio
from msrn.system.atomic import reason
from msrn.system.locks import locked

_IMAGE, _JOURNAL = "image.tif", "done.jsonl"
_SECONDS = 10.0
"""What a kill may cost."""
_SMALLEST_OVERVIEW = 256
"""Side below which no overview is made."""


class PartialRaster:
    """The file that is being made; see :func:`partial_raster`.

    Args:
        folder: of the file and its journal.
        profile: what rasterio creates it with.
        key: says what it is made of and how; a journal of another key is begun anew.
        choices: backend and precision by SHA-256 of the weights, to go on with.
    """

    def __init__(self, folder: Path, profile: dict[str, Any], key: str, choices: Mapping[str, str]) -> None:
        self._image, self._journal = folder / _IMAGE, folder / _JOURNAL
        self.done = self._continued(key)
        """Numbers of the windows that need not be made."""
        self.is_new = not self.done
        self._waiting, self._since = list[int](), time.monotonic()
        if self.is_new:
            self.dataset: Any = open_dataset(self._image, "w+", **profile)
            with self._journal.open("w", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "choices": dict(choices)}) + "\n")
        else:
            self._open()

    def write(self, number: int, window: Window, values: NDArray[Any], mask: NDArray[np.bool_] | None) -> None:
        """Write all bands ``(bands, rows, columns)`` of a window, and of a mask that the file has as a whole."""
        spans = tuple((span.start, span.stop) for span in window)
        self.dataset.write(values, window=spans)
        if mask is not None:
            self.dataset.write_mask(mask.astype(np.uint8) * 255, window=spans)
        self._waiting.append(number)
        if time.monotonic() - self._since > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Put everything on disk, and then into the journal."""
        if self._waiting:
            self._close()
            _append(self._journal, "".join(f"{number}\n" for number in self._waiting))
            self._waiting.clear()
            self._open()
        self._since = time.monotonic()

    def finish(self, target: Path, overviews: bool, before_rename: Callable[[BinaryIO], object]) -> None:
        """Make overviews if they are wanted, and give the file, which others may look at before, its name."""
        self.flush()
        sides, factors = min(self.dataset.height, self.dataset.width), list[int]()
        while overviews and sides // 2 ** (len(factors) + 1) >= _SMALLEST_OVERVIEW:
            factors.append(2 ** (len(factors) + 1))
        if factors:
            self.dataset.build_overviews(factors, rasterio().enums.Resampling.average)
        self._close()
        with self._image.open("rb") as file:
            before_rename(file)
        self._image.replace(target)

    def close(self) -> None:
        """Close the file; what is finished of it stays."""
        self.dataset.close()

    def _close(self) -> None:
        self.dataset.close()
        with self._image.open("rb") as file:
            os.fsync(file.fileno())

    def _open(self) -> None:
        self.dataset = open_dataset(self._image, "r+")

    def _continued(self, key: str) -> set[int]:
        """What the journal of an earlier run has, if it made the same."""
        if not self._image.is_file():
            return set()
        with suppress(OSError, ValueError, KeyError, TypeError):
            # The last line may be cut off.
            head, *lines = self._journal.read_text(encoding="utf-8").split("\n")[:-1]
            if json.loads(head)["key"] == key:
                return {int(line) for line in lines}
        return set()


@contextmanager
def partial_raster(
    target: Path, profile: dict[str, Any], key: str, choices: Mapping[str, str]
) -> Generator[PartialRaster]:
    """A result that is begun, or gone on with, for this process alone.

    Raises:
        OutputError: another process is making it, or it cannot be written.
    """
    folder = _folder(target)
    with locked(folder, f"another run is writing {target}"):
        try:
            partial = PartialRaster(folder, profile, key, choices)
            try:
                yield partial
            except KeyboardInterrupt:
                partial.flush()
                raise
            finally:
                partial.close()
        except (rasterio().errors.RasterioError, OSError) as error:
            raise OutputError(f"cannot write {target}: {reason(error)}") from error
        if not (folder / _IMAGE).exists():
            (folder / _JOURNAL).unlink(missing_ok=True)
    with suppress(OSError):  # there is something to go on with
        folder.rmdir()


def begun_with(target: Path) -> dict[str, str]:
    """Backend and precision by SHA-256 of the weights, of a run that was ended before its result had its name."""
    with (
        suppress(OSError, ValueError, KeyError, TypeError, AttributeError),
        (_folder(target) / _JOURNAL).open("rb") as file,
    ):
        choices = json.loads(file.readline(1 << 20))["choices"].items()
        return {name: choice for name, choice in choices if isinstance(choice, str)}
    return {}


def _folder(target: Path) -> Path:
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
    return target.parent / f".msrn-{name}.raster"


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
