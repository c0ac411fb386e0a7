"""The manifest of an output folder: what each output was made from, and with what it was computed.

One line of JSON per output is appended before the output gets its name. A line thus may be there without its output
(the program was killed in between, or the output was removed since), never the other way round; an output counts as
made only while its content is what the line says. The file may come from a stranger: lines that are none of ours are
passed over.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

MANIFEST = "msrn-manifest.jsonl"
FAILURES = "failures.jsonl"
_LONGEST_LINE = 1 << 16
"""More than any line of ours: names have at most 255 bytes, and folders a few thousand."""


@dataclass(frozen=True)
class Row:
    """One output: its name in the folder, and SHA-256 of the input, of the settings, and of itself."""

    output: str
    source: str
    settings: str
    made: str

    def __post_init__(self) -> None:
        name = Path(self.output)
        if not all(isinstance(value, str) for value in vars(self).values()) or "\0" in self.output:
            raise ValueError("not of this program")
        if name.is_absolute() or name.drive or ".." in name.parts:
            raise ValueError("the name leads out of the folder")


def read(folder: Path) -> tuple[dict[str, Row], dict[str, str]]:
    """The last row of each output, and backend and precision of the first run by SHA-256 of the weights."""
    rows: dict[str, Row] = {}
    choices: dict[str, str] = {}
    for values in _lines(folder / MANIFEST):
        with suppress(TypeError, ValueError):
            if isinstance(begun := values.get("choices"), dict):
                choices |= {str(key): str(value) for key, value in cast(dict[Any, Any], begun).items()}
            else:
                row = Row(**values)
                rows[row.output] = row
    return rows, choices


def append(folder: Path, content: Row | dict[str, dict[str, str]]) -> None:
    """Add a line: a row, or ``{"choices": …}``."""
    line = json.dumps(asdict(content) if isinstance(content, Row) else content)
    with open_book(folder / MANIFEST) as file:
        if file.tell():
            file.seek(-1, 2)
            line = line if file.read(1) == b"\n" else "\n" + line  # the last one was cut off
        file.write(line.encode() + b"\n")


def open_book(path: Path) -> BinaryIO:
    """Open a manifest or list of failures for appending; a link is refused, as it may lead out of the folder."""
    return open(path, "ab+", opener=_open_plain)


def outputs_in(folder: Path) -> list[Path]:
    """Files in a folder that its manifest says were made by this program."""
    return [folder / name for name in read(folder)[0]]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, or of the names and contents of all files of a raster that is a folder."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        known = "".join(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n" for file in files)
        return hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():  # and no pipe, which may have nothing to say
        with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
            for line in iter(partial(file.readline, _LONGEST_LINE), ""):
                with suppress(ValueError, RecursionError):  # cut off, or scribbled
                    values = json.loads(line)
                    if isinstance(values, dict):
                        yield cast(dict[str, Any], values)


def _open_plain(name: str, flags: int) -> int:
    descriptor = os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{Path(name).name} is no plain file")
    return descriptor
