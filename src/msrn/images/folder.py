"""The images of a folder, as 8-bit planes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.images.color import luminance_uint8
from msrn.images.decode import read
from msrn.images.formats import SUFFIXES
from msrn.images.picture import Picture, to_uint8
from msrn.types import Range


def list_images(folders: Sequence[Path], nested: bool = False) -> list[Path]:
    """All image files of some folders, ``nested`` with those of their subfolders, in a fixed order.

    Raises:
        UsageError: a folder is missing or holds no image.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"no such image folder: {folder}")
        images = [path for path in sorted(folder.rglob("*") if nested else folder.iterdir()) if is_image(path)]
        if not images:
            raise UsageError(f"no images in {folder} (looked for {', '.join(sorted(SUFFIXES))})")
        found += images
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]  # each file once


def is_image(path: Path) -> bool:
    """Whether a file has the name of an image that is read; those of hidden files are the system's."""
    return path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")


def load_plane(path: Path, channels: Literal[1, 3], color_range: Range) -> NDArray[np.uint8]:
    """Read an image as 8-bit ``(channels, H, W)``; colour becomes luminance in ``color_range`` for one channel.

    Raises:
        ImageError: the file cannot be read as an image.
    """
    return as_plane(read(path), channels, color_range)


def as_plane(picture: Picture, channels: Literal[1, 3], color_range: Range) -> NDArray[np.uint8]:
    """Turn a picture into 8-bit ``(channels, H, W)`` as the network is trained on."""
    pixels = to_uint8(picture.pixels)
    if channels == len(pixels):
        return pixels
    return luminance_uint8(pixels, color_range) if channels == 1 else np.repeat(pixels, 3, axis=0)
