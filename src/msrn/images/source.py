"""A file, a pipe or standard input becomes bytes, at most as many as are allowed."""

import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from msrn.errors import ImageError
from msrn.system.atomic import reason
from msrn.types import MAX_BYTES


def read_bytes(path: Path, max_bytes: int = MAX_BYTES, stopped: Callable[[], bool] | None = None) -> bytes:
    """A file's content.

    Args:
        path: the file; it may be a pipe.
        max_bytes: larger files are refused.
        stopped: asked ten times a second while nothing comes out of a pipe; reading ends when it is true.

    Raises:
        ImageError: it cannot be read, or holds more than ``max_bytes``.
    """
    try:
        # Opening a pipe that nobody writes to would otherwise wait for somebody.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            return read_stream(file, path, max_bytes, stopped)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"cannot read {path}: {reason(error)}") from error


def read_stream(
    file: BinaryIO, path: Path, max_bytes: int = MAX_BYTES, stopped: Callable[[], bool] | None = None
) -> bytes:
    """Read an open file or pipe to its end; otherwise as :func:`read_bytes`."""
    status = os.fstat(file.fileno())
    size, chunks = status.st_size, list[bytes]()
    if stat.S_ISREG(status.st_mode):
        chunks = [file.read(size + 1)] if size <= max_bytes else []
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) != (size, status.st_mtime_ns):
            raise ImageError(f"{path} changed while it was read; try again when it is complete")
    else:  # a pipe or a device, which may never end
        size = 0
        while size <= max_bytes and (chunk := _next_chunk(file.fileno(), path, stopped)):
            chunks.append(chunk)
            size += len(chunk)
    if size > max_bytes:
        raise ImageError(f"{path} has more than {max_bytes:,} bytes and is not read (--max-bytes)")
    return b"".join(chunks)


def _next_chunk(descriptor: int, path: Path, stopped: Callable[[], bool] | None) -> bytes:
    while True:
        if hasattr(select, "poll"):  # everywhere but on Windows
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            while not waiting.poll(100):
                if stopped is not None and stopped():
                    raise ImageError(f"{path} was not read to its end")
        with suppress(BlockingIOError):
            return os.read(descriptor, 1 << 20)
