"""A raster among many files, read once by a process of its own: where GDAL crashes or hangs, that costs one file."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from msrn.images.raster import Scene, open_scene
from msrn.system.guarded_process import Answer, GuardedProcess, decode_path, encode_path, serve
from msrn.types import MAX_SECONDS

_ROWS = 512
"""Rows that are read for a question."""
_SIDE = 1024
"""Columns that are read at once."""


def check_raster(path: Path, seconds: float = MAX_SECONDS, module: str = "msrn.images.raster_check") -> None:
    """Read all of a raster in another process.

    Args:
        path: the raster.
        seconds: 512 rows that take longer give it up.
        module: name of the module whose ``main`` is the process.

    Raises:
        ImageError: it cannot be read, or what reads it crashes or takes too long.
    """
    process = GuardedProcess(module, seconds)
    try:
        process.ask(path, {"path": encode_path(path)})
        for row in range(0, process.answer(path).header["rows"], _ROWS):
            process.ask(path, {"row": row})
            process.answer(path)
    finally:
        process.close()


def main() -> None:
    """Answer until nobody asks; this is the reading process."""
    with ExitStack() as held:
        scenes = list[Scene]()

        def answer(question: dict[str, Any], data: bytes) -> Answer:
            if "path" in question:
                scenes.append(held.enter_context(open_scene(decode_path(question["path"]))))
            else:
                for window in _windows(scenes[-1], question["row"]):
                    scenes[-1].read(tuple(range(1, scenes[-1].count + 1)), window)
            return {"rows": scenes[-1].height}, ()

        serve(answer)


def _windows(scene: Scene, row: int) -> Iterator[tuple[slice, slice]]:
    rows = slice(row, min(row + _ROWS, scene.height))
    for column in range(0, scene.width, _SIDE):
        yield rows, slice(column, min(column + _SIDE, scene.width))
