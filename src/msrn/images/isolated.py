"""Decoding in a process of its own: see ``child.py``."""

from pathlib import Path
from typing import Any

import numpy as np

from msrn.images.decode import decode
from msrn.images.picture import Metadata, Picture
from msrn.system.guarded_process import Answer, Blocks, Child, decode_path, encode_path, serve
from msrn.types import MAX_PIXELS, MAX_SECONDS

_BLOCKS = ("icc_profile", "exif", "xmp", "iptc", "comment", "png_chunks")


class Decoder:
    """Decodes files one after the other in a process of its own.

    Args:
        max_pixels: larger images are refused.
        seconds: a decoder that takes longer is stopped.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS, seconds: float = MAX_SECONDS) -> None:
        self._max_pixels = max_pixels
        self._child = Child(__name__, seconds=seconds)

    def decode(self, data: bytes, path: Path) -> Picture:
        """As :func:`msrn.images.decode`; a crash or a hang is an :class:`ImageError` as well."""
        self._child.ask(path, {"path": encode_path(path), "max_pixels": self._max_pixels}, data)
        answer = self._child.answer(path)
        header = answer.header
        channels, height, width = header["shape"]
        pixels = answer.array((channels, height, width))
        alpha = answer.array((1, height, width)) if header["alpha"] else None
        blocks = [answer.bytes() for _ in _BLOCKS]
        kept = {
            name: block if there else None for name, block, there in zip(_BLOCKS, blocks, header["blocks"], strict=True)
        }
        dpi = header["dpi"] and (header["dpi"][0], header["dpi"][1])
        return Picture(pixels, alpha, Metadata(header["bits"], dpi=dpi, source=str(path), **kept))

    def close(self) -> None:
        """End the process; decoding again starts another."""
        self._child.close()


def main() -> None:
    """The decoding process."""
    serve(_answer)


def _answer(question: dict[str, Any], data: bytes) -> Answer:
    return _flatten(decode(data, decode_path(question["path"]), max_pixels=question["max_pixels"]))


def _flatten(picture: Picture) -> Answer:
    kept = picture.metadata
    header: dict[str, Any] = {"shape": picture.pixels.shape, "alpha": picture.alpha is not None}
    header |= {"bits": kept.bits, "dpi": kept.dpi, "blocks": [getattr(kept, name) is not None for name in _BLOCKS]}
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    blocks: Blocks = tuple(np.ascontiguousarray(plane).data.cast("B") for plane in planes)
    return header, (*blocks, *(getattr(kept, name) or b"" for name in _BLOCKS))
