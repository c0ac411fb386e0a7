"""Decoding in processes of their own: see ``guarded_process.py``."""

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from msrn.images.decode import decode
from msrn.images.picture import Metadata, Picture
from msrn.system.guarded_process import Answer, Blocks, GuardedProcess, decode_path, encode_path, serve
from msrn.types import MAX_PIXELS, MAX_SECONDS

_BLOCKS = ("icc_profile", "exif", "xmp", "iptc", "comment", "png_chunks")


class Decoder:
    """Decodes files in processes of its own, as many as threads ask at once; each is used again.

    Args:
        max_pixels: larger images are refused.
        seconds: a file that takes longer is given up.
        module: name of the module whose ``main`` is the process.
    """

    def __init__(
        self, max_pixels: int = MAX_PIXELS, seconds: float = MAX_SECONDS, module: str = "msrn.images.isolated"
    ) -> None:
        self._max_pixels, self._seconds, self._module = max_pixels, seconds, module
        self._all: list[GuardedProcess] = []
        self._idle: list[GuardedProcess] = []
        self._lock = Lock()

    def start(self) -> None:
        """Start a process for the first file, which then need not wait for it."""
        process = self._borrow()
        process.start()
        self._idle.append(process)

    def decode(self, data: bytes, path: Path) -> Picture:
        """As :func:`msrn.images.decode`; a crash or a hang is an :class:`ImageError` as well."""
        process = self._borrow()
        try:
            process.ask(path, {"path": encode_path(path), "max_pixels": self._max_pixels}, data)
            return _picture(process, path)
        finally:
            self._idle.append(process)

    def close(self) -> None:
        """End all processes, whatever they are doing; decoding again starts others."""
        with self._lock:
            for process in self._all:
                process.close()

    def _borrow(self) -> GuardedProcess:
        with self._lock:
            if not self._idle:
                self._all.append(GuardedProcess(self._module, self._seconds))
                return self._all[-1]
            return self._idle.pop()


def _picture(process: GuardedProcess, path: Path) -> Picture:
    """Receive what :func:`_flatten` made."""
    answer = process.answer(path)
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


def main() -> None:
    """Answer until nobody asks; this is the decoding process."""
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
