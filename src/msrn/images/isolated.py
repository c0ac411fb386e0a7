"""Decoding in processes of their own: see ``guarded_process.py``."""

from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from msrn.images.decode import decode
from msrn.images.formats import Allowance
from msrn.images.picture import JpegCoding, Metadata, Picture
from msrn.system.guarded_process import Answer, GuardedProcess, decode_path, encode_path, serve
from msrn.system.machine import confine_memory
from msrn.types import MAX_PIXELS, MAX_SECONDS

_MOST_PER_BYTE = 4
"""Bytes that may be taken for each of a file before its size in pixels is known."""


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


def main() -> None:
    """Answer until nobody asks; this is the decoding process."""
    serve(_answer)


def decode_confined(data: bytes, path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """As :func:`msrn.images.decode`, with no more memory than a picture of its size can need.

    The limit is this whole process's while it lasts, so this is for processes that do nothing else.
    """
    Allowance.confine(_MOST_PER_BYTE * len(data))
    try:
        return decode(data, path, max_pixels=max_pixels, confined=True)
    finally:
        confine_memory(None)


def _answer(question: dict[str, Any], data: bytes) -> Answer:
    picture = decode_confined(data, decode_path(question["path"]), question["max_pixels"])
    kept = {name: value for name, value in vars(picture.metadata).items() if isinstance(value, bytes)}
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    header: dict[str, Any] = {"shapes": [plane.shape for plane in planes], "kept": [*kept]}
    coding = picture.metadata.jpeg
    header |= {
        "note": picture.metadata.note,
        "bits": picture.metadata.bits,
        "dpi": picture.metadata.dpi,
        "jpeg": coding and asdict(coding),
    }
    return header, (*(np.ascontiguousarray(plane).data.cast("B") for plane in planes), *kept.values())


def _picture(process: GuardedProcess, path: Path) -> Picture:
    """Receive what :func:`_answer` sent."""
    answer = process.answer(path)
    header = answer.header
    pixels, *alpha = [answer.array(shape) for shape in header["shapes"]]
    kept = {name: answer.bytes() for name in header["kept"]}
    dpi = header["dpi"] and (header["dpi"][0], header["dpi"][1])
    coding = header["jpeg"] and JpegCoding(tuple(map(tuple, header["jpeg"]["tables"])), header["jpeg"]["subsampling"])
    metadata = Metadata(header["bits"], dpi=dpi, jpeg=coding, source=str(path), note=header["note"], **kept)
    return Picture(pixels, alpha[0] if alpha else None, metadata)
