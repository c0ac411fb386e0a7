"""Decoding in a process of its own: a decoder that crashes or hangs costs one file, not the run.

The two talk over pipes, in JSON and raw bytes; nothing that the decoding process says is ever executed.
"""

import io
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from msrn.errors import ImageError
from msrn.files.decode import decode
from msrn.files.formats import MAX_PIXELS
from msrn.picture import Metadata, Picture

SECONDS = 120.0
"""How long one file's decoding may take unless asked for."""

_PROGRAM = "import sys; sys.path[:] = {path!r}; from msrn.files.guarded import serve; serve()"
_BLOCKS = ("icc_profile", "exif", "xmp")


class Decoder:
    """Decodes files one after the other in a process of its own, which is started again after a crash.

    Args:
        max_pixels: larger images are refused.
        seconds: a decoder that takes longer is stopped (except on Windows, which has no alarm).
    """

    def __init__(self, max_pixels: int = MAX_PIXELS, seconds: float = SECONDS) -> None:
        self._limits = {"max_pixels": max_pixels, "seconds": seconds}
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, data: bytes, path: Path) -> Picture:
        """As :func:`msrn.files.decode`; a crash or a hang is an :class:`ImageError` as well."""
        if self._process is None:
            program = _PROGRAM.format(path=sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the parent, which closes this one
            )
        sender, receiver = self._process.stdin, self._process.stdout
        if sender is None or receiver is None:
            raise RuntimeError("the decoder has no pipes")
        try:
            _send(sender, self._limits | {"path": os.fsencode(path).hex()}, data)
            return _receive_picture(receiver, path)
        except (OSError, EOFError) as error:
            code = self._process.wait()
            self.close()
            if code == -getattr(signal, "SIGALRM", 0):
                what = f"takes more than {self._limits['seconds']:g} s to decode and was given up"
            else:
                what = f"made its decoder crash (exit status {code})"
            raise ImageError(f"{path} {what}; the file is damaged or hostile") from error
        except MemoryError:
            self.close()  # in the middle of an answer
            raise

    def close(self) -> None:
        """End the process; decoding again starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                try:
                    if pipe is not None:
                        pipe.close()
                except OSError:  # what was still buffered for a process that is gone
                    pass


def serve() -> None:
    """The decoding process: one request after the other until the pipe is closed."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not fall among the answers
    alarm: Any = getattr(signal, "setitimer", None)
    while True:
        try:
            request, data = _receive(requests)
        except EOFError:
            return
        path = Path(os.fsdecode(bytes.fromhex(request["path"])))
        if alarm is not None:
            alarm(signal.ITIMER_REAL, request["seconds"])  # ends the process, even inside a decoder
        try:
            answer: tuple[Any, ...] = _flatten(decode(data, path, max_pixels=request["max_pixels"]))
        except ImageError as error:
            answer = ({"error": str(error)},)
        if alarm is not None:
            alarm(signal.ITIMER_REAL, 0)
        _send(answers, *answer)


def _send(pipe: IO[bytes], header: dict[str, Any], *blocks: bytes | memoryview) -> None:
    text = json.dumps(header | {"sizes": [len(block) for block in blocks]}).encode()
    pipe.write(struct.pack("<Q", len(text)) + text)
    for block in blocks:
        pipe.write(block)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    header = _receive_header(pipe)
    return header, _exactly(pipe, sum(header["sizes"]))


def _receive_header(pipe: IO[bytes]) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", _exactly(pipe, 8))
    return json.loads(_exactly(pipe, length))


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


def _flatten(picture: Picture) -> tuple[Any, ...]:
    kept = picture.metadata
    header: dict[str, Any] = {"shape": picture.pixels.shape, "alpha": picture.alpha is not None}
    header |= {"bits": kept.bits, "dpi": kept.dpi, "blocks": [getattr(kept, name) is not None for name in _BLOCKS]}
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    blocks = [np.ascontiguousarray(plane).data.cast("B") for plane in planes]
    return header, *blocks, *(getattr(kept, name) or b"" for name in _BLOCKS)


def _receive_picture(pipe: IO[bytes], path: Path) -> Picture:
    header = _receive_header(pipe)
    if "error" in header:
        raise ImageError(header["error"])
    channels, height, width = header["shape"]
    planes: list[NDArray[np.float32]] = []
    for count in (channels, 1) if header["alpha"] else (channels,):
        plane = np.empty((count, height, width), np.float32)
        if cast(io.BufferedReader, pipe).readinto(plane.data.cast("B")) < plane.nbytes:
            raise EOFError
        planes.append(plane)
    blocks = [_exactly(pipe, size) for size in header["sizes"][len(planes) :]]
    kept = {
        name: block if there else None for name, block, there in zip(_BLOCKS, blocks, header["blocks"], strict=True)
    }
    dpi = header["dpi"] and (header["dpi"][0], header["dpi"][1])
    metadata = Metadata(header["bits"], dpi=dpi, source=str(path), **kept)
    return Picture(planes[0], planes[1] if header["alpha"] else None, metadata)
