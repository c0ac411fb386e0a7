"""What each output of a folder was made from: one line of JSON per output, appended before the output gets its name,
and one that says with what it was computed.

A line thus may be there without its output (the program was killed in between, or the output was removed since), never
the other way round; an output counts as made only while its content is what the line says.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, cast

MANIFEST = "msrn-manifest.jsonl"
FAILURES = "failures.jsonl"


@dataclass(frozen=True)
class Row:
    """One output: its name in the folder, and SHA-256 of the input, of the settings, and of itself."""

    output: str
    source: str
    settings: str
    made: str


@dataclass(frozen=True)
class Begun:
    """Backend and precision that outputs were made with, by SHA-256 of the weights."""

    choices: dict[str, str]


class Manifest:
    """The manifest of an output folder; may be appended to from several threads."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / MANIFEST
        rows = list(_rows(self.path))
        self._rows = {row.output: row for row in rows if isinstance(row, Row)}
        begun = (item for row in rows if isinstance(row, Begun) for item in row.choices.items())
        self.choices: dict[str, str] = dict(begun)
        """With what backend and precision earlier runs computed, by SHA-256 of the weights."""
        self._lock = Lock()

    def finished(self, source: Path, target: Path, settings: str) -> bool:
        """True if the target is what these settings make of the source."""
        row = self._rows.get(self._name(target))
        if row is None or row.settings != settings:
            return False
        try:
            return row.made == sha256_of(target) and row.source == sha256_of(source)
        except OSError:
            return False

    def append(self, target: Path, source: str, settings: str, made: str) -> None:
        """Record what ``target`` is about to be."""
        self._append(Row(self._name(target), source, settings, made))

    def begin(self, choices: dict[str, str]) -> None:
        """Record what is computed with, where that is news."""
        news = {key: value for key, value in choices.items() if key not in self.choices}
        if news:
            self._append(Begun(news))
            self.choices |= news

    def _append(self, row: Row | Begun) -> None:
        line = json.dumps(asdict(row))
        with self._lock, self.path.open("ab+") as file:
            if file.tell() and not _ends_a_line(file):
                line = "\n" + line  # the last one was cut off
            file.write(line.encode() + b"\n")

    def _name(self, target: Path) -> str:
        return target.relative_to(self.path.parent).as_posix()


def outputs_in(folder: Path) -> list[Path]:
    """Files in a folder that its manifest says were made by this program."""
    return [folder / row.output for row in _rows(folder / MANIFEST) if isinstance(row, Row)]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rows(path: Path) -> Iterator[Row | Begun]:
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError, TypeError, RecursionError):  # cut off, of another version, or scribbled
                values = json.loads(line)
                choices = cast(Any, values).get("choices") if isinstance(values, dict) else None
                if isinstance(choices, dict):
                    yield Begun({str(key): str(value) for key, value in cast(dict[Any, Any], choices).items()})
                else:
                    row = Row(**values)
                    if all(isinstance(value, str) for value in asdict(row).values()) and "\0" not in row.output:
                        yield row


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, 2)
    return file.read(1) == b"\n"
