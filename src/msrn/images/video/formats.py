"""What is read and written, and what a frame is between the process that decodes it and the one that encodes it."""

from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from typing import Any

from msrn.system.extras import missing

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Output container by suffix; the same are read, and WebM, AVI and MPEG transport streams."""

SUFFIXES_IN_FOLDERS = (*CONTAINERS, ".webm", ".avi", ".mts", ".m2ts")
"""Suffixes that make a file in a folder a video."""

SUFFIXES = (*SUFFIXES_IN_FOLDERS, ".ts")
"""Suffixes that make a named file a video; in folders, ``.ts`` is more often a program's source."""

TAGS = ("color_range", "colorspace", "color_primaries", "color_trc")

# Floating point, and rounding that is accurate: otherwise the way to RGB and back darkens 8-bit video by a whole level.
# In several threads, it now and then garbles the rows where two of them meet.
SCALER: dict[str, Any] = {"format": "gbrpf32le", "interpolation": "ACCURATE_RND", "threads": 1}


@dataclass(frozen=True)
class Stream:
    """What a video says of its frames before the first."""

    width: int
    height: int
    frames: int
    """Their likely number; 0 where it is not known."""
    rate: Fraction | None
    time_base: Fraction
    aspect: Fraction | None
    """Of a pixel."""


@dataclass(frozen=True)
class Frame:
    """What a frame says besides its pixels."""

    pts: int
    time_base: Fraction
    pixel_format: str
    """To encode it in."""
    tags: tuple[int, ...]
    """Values of :data:`TAGS`."""
    rotation: int = 0
    """Degrees by which players turn it."""

    @property
    def matrix(self) -> int:
        """The YCbCr matrix for the scaler, which knows no "unspecified": it takes BT.601 then, both ways."""
        return known_matrix(self.tags[TAGS.index("colorspace")])

    @property
    def color_range(self) -> int:
        """For the scaler: studio unless the frame says otherwise."""
        return self.tags[TAGS.index("color_range")] or 1


def known_matrix(colorspace: int) -> int:
    """A frame's YCbCr matrix, or BT.601's where it names none."""
    return colorspace if colorspace in (1, 4, 5, 6, 7, 9, 10) else 5


def pyav() -> Any:
    """PyAV, which is optional and has no types of its own.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module("av")
    except ImportError as error:
        raise missing("video", "PyAV", "video") from error
