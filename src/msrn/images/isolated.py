"""Decoding in processes of their own: see ``guarded_process.py``."""

from collections.abc import Generator
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from msrn.images import jpeg_evidence
from msrn.images.decode import decode, decode_frames
from msrn.images.formats import Allowance
from msrn.images.frames.series import Frames, Series
from msrn.images.picture import Metadata, Picture
from msrn.system.guarded_process import Answer, AnswerReader, GuardedProcess, decode_path, encode_path, serve
from msrn.system.machine import confine_memory
from msrn.types import MAX_FRAMES, MAX_PIXELS, MAX_SECONDS

_MOST_PER_BYTE = 4
"""Bytes that may be taken for each of a file before its size in pixels is known."""


class Decoder:
    """Decodes files in processes of its own, as many as threads ask at once; each is used again.

    Args:
        max_pixels: larger images are refused.
        seconds: a file that takes longer is given up.
        module: name of the module whose ``main`` is the process.
        coefficients: read those of large JPEG files as well; see :func:`msrn.images.read`.
    """

    def __init__(
        self,
        max_pixels: int = MAX_PIXELS,
        seconds: float = MAX_SECONDS,
        module: str = "msrn.images.isolated",
        coefficients: bool = False,
    ) -> None:
        self._max_pixels, self._seconds, self._module = max_pixels, seconds, module
        self._coefficients = coefficients
        self._all: list[GuardedProcess] = []
        self._idle: list[GuardedProcess] = []
        self._lock = Lock()

    def start(self) -> None:
        """Start a process for the first file, which then need not wait for it."""
        process = self._borrow()
        process.start()
        self._idle.append(process)

    def decode(self, data: bytes, path: Path, frame: int | None = None, *, coefficients: bool = False) -> Picture:
        """As :func:`msrn.images.decode`; a crash or a hang is an :class:`ImageError` as well."""
        process = self._borrow()
        try:
            wanted = coefficients or self._coefficients
            process.ask(path, self._question(path) | {"frame": frame, "coefficients": wanted}, data)
            return _picture(process.answer(path), path)
        finally:
            self._idle.append(process)

    def decode_frames(self, data: bytes, path: Path, max_frames: int = MAX_FRAMES) -> Frames:
        """As :func:`msrn.images.decode_frames`, one picture ahead of what is asked for."""
        question = self._question(path) | {"do": "open", "max_frames": max_frames}
        process = self._borrow()
        try:
            process.ask(path, question, data)
            series = Series.from_json(process.answer(path).header["series"])
        finally:
            self._idle.append(process)
        return Frames(series, lambda: self._frames(question, data, path))

    def _frames(self, question: dict[str, Any], data: bytes, path: Path) -> Generator[Picture]:
        process = self._borrow()
        ended = False
        try:
            process.ask(path, question, data)
            process.answer(path)
            process.ask(path, {"do": "next"})
            while not ended:
                answer = process.answer(path)
                ended = "end" in answer.header
                if not ended:
                    picture = _picture(answer, path)
                    process.ask(path, {"do": "next"})  # decoded while this one is restored
                    yield picture
        finally:
            if not ended:  # it has an answer that nobody will hear
                process.close()
            self._idle.append(process)

    def _question(self, path: Path) -> dict[str, Any]:
        return {"path": encode_path(path), "max_pixels": self._max_pixels}

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


def decode_confined(
    data: bytes, path: Path, max_pixels: int = MAX_PIXELS, frame: int | None = None, coefficients: bool = False
) -> Picture:
    """As :func:`msrn.images.decode`, with no more memory than a picture of its size can need.

    The limit is this whole process's while it lasts, so this is for processes that do nothing else.
    """
    Allowance.confine(_MOST_PER_BYTE * len(data))
    try:
        return decode(data, path, frame=frame, max_pixels=max_pixels, confined=True, coefficients=coefficients)
    finally:
        confine_memory(None)


_opened: list[Generator[Picture]] = []
"""The pictures of the file that this process has opened, if it holds several."""


def _answer(question: dict[str, Any], data: bytes) -> Answer:
    if question.get("do") == "open":
        Allowance.confine(_MOST_PER_BYTE * len(data))
        try:
            most = {"max_pixels": question["max_pixels"], "max_frames": question["max_frames"]}
            frames = decode_frames(data, decode_path(question["path"]), **most, confined=True)
        finally:
            confine_memory(None)
        _opened[:] = [iter(frames)]
        return {"series": frames.series.to_json()}, ()
    if question.get("do") == "next":
        try:
            picture = next(_opened[0], None)
        finally:
            confine_memory(None)
        return _sent(picture) if picture is not None else ({"end": True}, ())
    how = question["max_pixels"], question["frame"], question["coefficients"]
    return _sent(decode_confined(data, decode_path(question["path"]), *how))


def _sent(picture: Picture) -> Answer:
    kept = {name: value for name, value in vars(picture.metadata).items() if isinstance(value, bytes)}
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    header: dict[str, Any] = {"shapes": [plane.shape for plane in planes], "kept": [*kept]}
    coding, blocks = jpeg_evidence.sent(picture.metadata.jpeg)
    header |= {
        "note": picture.metadata.note,
        "bits": picture.metadata.bits,
        "dpi": picture.metadata.dpi,
        "jpeg": coding,
    }
    return header, (*(np.ascontiguousarray(plane).data.cast("B") for plane in planes), *kept.values(), *blocks)


def _picture(answer: AnswerReader, path: Path) -> Picture:
    """Receive what :func:`_sent` sent."""
    header = answer.header
    pixels, *alpha = [answer.array(shape) for shape in header["shapes"]]
    kept = {name: answer.bytes() for name in header["kept"]}
    dpi = header["dpi"] and (header["dpi"][0], header["dpi"][1])
    coding = jpeg_evidence.received(header["jpeg"], answer)
    metadata = Metadata(header["bits"], dpi=dpi, jpeg=coding, source=str(path), note=header["note"], **kept)
    return Picture(pixels, alpha[0] if alpha else None, metadata)
