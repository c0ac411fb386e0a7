"""A process of its own for strangers' files: a decoder that crashes or hangs costs one file, not the run.

The two talk over pipes, in JSON and raw bytes; nothing that the child says is ever executed.
"""

import io
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from msrn.errors import ImageError, SeveralPicturesError, TooManyPixelsError, UnknownFormatError
from msrn.types import MAX_SECONDS

if TYPE_CHECKING:  # a process is to be started before anything heavy is imported
    import numpy as np
    from numpy.typing import NDArray


class EndedError(ImageError):
    """The process was ended from outside: this says nothing of the file."""


Blocks = tuple[bytes | memoryview, ...]
Answer = tuple[dict[str, Any], Blocks]

_KINDS = {kind.__name__: kind for kind in (SeveralPicturesError, TooManyPixelsError, UnknownFormatError)}
"""Errors that keep their kind on the way between the processes."""
_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"


_ahead: dict[str, subprocess.Popen[bytes]] = {}


def start_ahead(module: str) -> None:
    """Start the process that the first :class:`GuardedProcess` of a module will use, before anything is imported."""
    _ahead[module] = _start(module)


def _start(module: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(path=sys.path, module=module)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the parent, which closes this one
    )


class GuardedProcess:
    """A process that answers questions about strangers' files; it is started for the first, and again after a crash.

    Args:
        module: name of the module whose ``main`` answers, by :func:`serve`.
        seconds: an answer that takes longer ends the process (except on Windows, which has no alarm).
    """

    def __init__(self, module: str, seconds: float = MAX_SECONDS) -> None:
        self._module, self._seconds = module, seconds
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process before the first question, which then need not wait for its imports."""
        if self._process is None:
            self._process = _ahead.pop(self._module, None)
        if self._process is not None and self._process.poll() is not None:
            self.close()  # somebody else has ended it; the next file is not to blame
        if self._process is None:
            self._process = _start(self._module)

    def ask(self, path: Path, question: dict[str, Any], *blocks: bytes) -> None:
        """Send a question; ``path`` names the file it is about in errors.

        ``question["seconds"]`` is a limit of its own, 0 for none.

        Raises:
            ImageError: the process has died.
        """
        self.start()
        try:
            _send(cast(IO[bytes], cast(Any, self._process).stdin), {"seconds": self._seconds} | question, *blocks)
        except OSError as error:
            raise self.died(path) from error

    def answer(self, path: Path) -> "AnswerReader":
        """Receive the answer to the oldest open question.

        Raises:
            ImageError: it is an error, or the process crashed or took too long.
        """
        if self._process is None:
            raise RuntimeError("nothing was asked")
        reader = AnswerReader(self, cast(IO[bytes], self._process.stdout), path)
        if "error" in reader.header:
            raise _KINDS.get(reader.header.get("kind", ""), ImageError)(reader.header["error"])
        return reader

    def close(self) -> None:
        """End the process; asking again starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # what was still buffered for a process that is gone
                    cast(IO[bytes], pipe).close()

    def died(self, path: Path) -> ImageError:
        """Find out how the process ended while it was busy with a file."""
        process = self._process  # which another thread may close meanwhile
        code = process.wait() if process is not None else -9
        self.close()
        if code in (-getattr(signal, name, 0) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")):
            return EndedError(f"{path}: its decoder was killed, most likely for want of memory")
        if code == -getattr(signal, "SIGALRM", 0):
            return ImageError(
                f"{path} takes more than {self._seconds:g} s to decode and was given up; the file is damaged or hostile"
            )
        return ImageError(f"{path} made its decoder crash (exit status {code}); the file is damaged or hostile")


class AnswerReader:
    """An answer: its header, and its blocks in the order they were sent."""

    def __init__(self, process: GuardedProcess, pipe: IO[bytes], path: Path) -> None:
        self._process, self._pipe, self._path = process, pipe, path
        self.header = self._guarded(lambda: _receive_header(pipe))
        self._sizes: list[int] = list(self.header["sizes"])

    def array(self, shape: tuple[int, ...]) -> "NDArray[np.float32]":
        """The next block as float32 of this shape."""

        import numpy as np

        def read() -> "NDArray[np.float32]":
            made = np.empty(shape, np.float32)
            if cast(io.BufferedReader, self._pipe).readinto(made.data.cast("B")) < made.nbytes:
                raise EOFError
            return made

        self._sizes.pop(0)
        return self._guarded(read)

    def bytes(self) -> bytes:
        """The next block."""
        size = self._sizes.pop(0)
        return self._guarded(lambda: _exactly(self._pipe, size))

    def discard(self) -> None:
        """Read the remaining blocks for nothing."""
        while self._sizes:
            self.bytes()

    def _guarded(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (OSError, EOFError) as error:
            raise self._process.died(self._path) from error
        except MemoryError:
            self._process.close()  # in the middle of an answer
            raise


def serve(answer: Callable[[dict[str, Any], bytes], Answer]) -> None:
    """Answer one question after the other until the pipe is closed; an :class:`ImageError` is an answer as well.

    Called by the guarded process. ``answer`` gets a question and its blocks as one.
    """
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not fall among the answers
    alarm: Any = getattr(signal, "setitimer", None)
    while True:
        try:
            question = _receive_header(questions)
            data = _exactly(questions, sum(question["sizes"]))
        except EOFError:
            return
        if alarm is not None:
            alarm(signal.ITIMER_REAL, question["seconds"])  # ends the process, even inside a decoder
        try:
            header, blocks = answer(question, data)
        except ImageError as error:
            header, blocks = {"error": str(error), "kind": type(error).__name__}, ()
        except MemoryError:
            header, blocks = {"error": "decoding it needs more memory than there is"}, ()
        if alarm is not None:
            alarm(signal.ITIMER_REAL, 0)
        _send(answers, header, *blocks)


def encode_path(path: Path) -> str:
    """A path as JSON can carry it: names need not be Unicode."""
    return os.fsencode(path).hex()


def decode_path(text: str) -> Path:
    """What :func:`encode_path` made, as a path."""
    return Path(os.fsdecode(bytes.fromhex(text)))


def _send(pipe: IO[bytes], header: dict[str, Any], *blocks: bytes | memoryview) -> None:
    text = json.dumps(header | {"sizes": [len(block) for block in blocks]}).encode()
    pipe.write(struct.pack("<Q", len(text)) + text)
    for block in blocks:
        pipe.write(block)
    pipe.flush()


def _receive_header(pipe: IO[bytes]) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", _exactly(pipe, 8))
    return json.loads(_exactly(pipe, length))


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data
