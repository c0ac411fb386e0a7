"""What the service and its workers say to each other: one message a line, as JSON. Nothing else passes between them."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from msrn.types import BackendName, Precision, Subsampling

TaskName = Literal["restore", "upscale", "denoise", "dejpeg"]
"""What to do, named as the commands are."""
FormatName = Literal["png", "jpg", "webp", "tif", "bmp"]
"""Formats of results, named by their suffix."""
Refusal = Literal[
    "too_many_pixels",
    "unknown_format",
    "several_pictures",
    "bad_image",
    "bad_options",
    "no_memory",
    "no_disk",
    "internal",
]
"""Why a worker did not do something."""


@dataclass(frozen=True)
class RestoreOptions:
    """What to make of a picture; each as the command's option of that name."""

    task: TaskName = "restore"
    model: str = ""
    """Weights by their name in the catalogue; empty for the task's own."""
    scale: float | None = None
    to: str = ""
    strength: float = 1.0
    effort: int = 0
    consistent: bool = False
    confidence: bool = False
    format: FormatName = "png"
    quality: int = 95
    subsampling: Subsampling = "4:4:4"
    strip_metadata: bool = False


@dataclass(frozen=True)
class View:
    """What somebody looks at: a window on the result, in pixels of the result."""

    x: float = 0.5
    """Its centre, as a share of the result's width."""
    y: float = 0.5
    """Likewise of the height."""
    width: int = 1280
    height: int = 800


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker is started with."""

    max_pixels: int
    decode_seconds: float
    device: str = "auto"
    backend: BackendName = "auto"
    precision: Precision = "auto"


@dataclass(frozen=True)
class Restore:
    """Restore a picture."""

    number: int
    source: str
    """The file as it came."""
    name: str
    """What its sender calls it."""
    target: str
    """Where the result goes."""
    options: RestoreOptions
    tile: int = 0
    """Side of the tiles; 0 chooses."""
    view: View | None = None
    """What to restore first, into files named ``target`` and a number."""


@dataclass(frozen=True)
class Export:
    """Write a picture again: in another format, or less strongly restored."""

    number: int
    source: str
    name: str
    target: str
    options: RestoreOptions
    restored: str = ""
    """The result, losslessly; empty writes the picture as it came."""


@dataclass(frozen=True)
class Look:
    """Restore what somebody looks at before the rest."""

    number: int
    view: View


@dataclass(frozen=True)
class Cancel:
    """Stop after the tile at hand."""

    number: int


@dataclass(frozen=True)
class Decoded:
    """The picture is decoded."""

    number: int
    width: int
    height: int


@dataclass(frozen=True)
class Found:
    """It is settled what will be done."""

    number: int
    note: str
    """Why."""
    steps: tuple[str, ...]
    """The networks' tasks, in order."""
    width: int
    """Of the result."""
    height: int
    sigma: float | None = None
    """The noise that was found, where it was looked for."""
    quality: int | None = None
    """The JPEG quality that was found."""


@dataclass(frozen=True)
class Preview:
    """A rectangle of the result is there, as a PNG file."""

    number: int
    left: int
    top: int
    width: int
    height: int
    file: str


@dataclass(frozen=True)
class TileDone:
    """One more tile is done."""

    number: int
    step: int
    """Which step is at hand, from 1."""
    done: int
    """Of its tiles."""
    total: int


@dataclass(frozen=True)
class Done:
    """The result is in its file."""

    number: int
    computing: str = ""
    """Backend and precision."""
    seconds: float = 0.0
    """Spent by the networks."""
    told: str = ""
    """What is said of the result besides what was found in the picture."""
    confidence: dict[str, Any] | None = None
    """How far it is likely to be from the truth; the map is in a file named ``target`` and :data:`HEATMAP`."""
    departure: dict[str, Any] | None = None
    """How far it departs from what the picture allows."""


HEATMAP = "-confidence.png"
"""What the name of a map has behind that of its result."""


@dataclass(frozen=True)
class Failed:
    """There is no result."""

    number: int
    refusal: Refusal
    message: str


@dataclass(frozen=True)
class Cancelled:
    """It was stopped."""

    number: int


Order = Restore | Export | Look | Cancel
Event = Decoded | Found | Preview | TileDone | Done | Failed | Cancelled
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (*Order.__args__, *Event.__args__)}
_PARTS: dict[str, Any] = {"options": RestoreOptions, "view": View}


def to_line(message: Order | Event) -> bytes:
    """A message as a line."""
    return json.dumps({"kind": type(message).__name__} | asdict(message)).encode() + b"\n"


def order_of(line: bytes) -> Order:
    """The order in a line."""
    return _from_line(line, Order)


def event_of(line: bytes) -> Event:
    """The event in a line."""
    return _from_line(line, Event)


def _from_line(line: bytes, expected: Any) -> Any:
    said = json.loads(line)
    kind = _KINDS[said.pop("kind")]
    for name, part in _PARTS.items():
        if said.get(name) is not None:
            said[name] = part(**said[name])
    if "steps" in said:
        said["steps"] = tuple(said["steps"])
    message = kind(**{field.name: said[field.name] for field in fields(kind)})
    if not isinstance(message, expected):
        raise ValueError(f"{said!r} was not expected")
    return message
