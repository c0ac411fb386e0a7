"""A video, as the rest of the program sees it: frames that another process decodes."""

from collections.abc import Iterator
from fractions import Fraction
from json import dumps
from pathlib import Path
from typing import Any, BinaryIO, cast

from msrn import images
from msrn.images.picture import Metadata, Picture
from msrn.system.guarded_process import AnswerReader, GuardedProcess, encode_path
from msrn.types import MAX_FRAMES, MAX_SECONDS
from msrn.video.formats import Frame, Stream, pyav

Frames = Iterator[tuple[Frame, Picture]]


class VideoReader:
    """A video that another process decodes, one frame ahead of what is asked for.

    Args:
        path: the file.
        max_pixels: larger frames are refused.
        max_frames: longer videos are refused.
        max_seconds: the process is ended if a frame takes longer.
        suffix: suffix of the container that :meth:`join` will write, if it will.
        module: name of the module whose ``main`` is that process.

    Raises:
        UsageError: PyAV is missing.
        ImageError: it cannot be opened; other methods: it cannot be decoded further.
    """

    def __init__(
        self,
        path: Path,
        max_pixels: int = images.MAX_PIXELS,
        max_frames: int = MAX_FRAMES,
        max_seconds: float = MAX_SECONDS,
        suffix: str = "",
        module: str = "msrn.video.decoder",
    ) -> None:
        pyav()
        self.path = path
        self._process = GuardedProcess(module, max_seconds)
        limits = {"max_pixels": max_pixels, "max_frames": max_frames}
        self._process.ask(path, {"do": "open", "path": encode_path(path), "suffix": suffix, **limits})
        try:
            about = self._process.answer(path).header
        except BaseException:
            self.close()
            raise
        self.stream = Stream(
            about["width"],
            about["height"],
            about["frames"],
            _fraction(about["rate"]),
            Fraction(*about["time_base"]),
            _fraction(about["aspect"]),
        )
        self._ask("next")

    @property
    def ended(self) -> bool:
        """Whether there are no more frames."""
        if self._ahead is None:
            self._ahead = self._process.answer(self.path)
        return self._ahead.header["end"]

    def frames(self) -> Frames:
        """The frames from here on; may be left and asked for again."""
        while not self.ended:
            frame = self._take()
            self._ask("next")  # decoded while this one is restored
            yield frame

    def skip(self, count: int) -> int:
        """Decode up to ``count`` frames for nothing; returns how many there were."""
        skipped = 0
        while skipped < count and not self.ended:
            cast(AnswerReader, self._ahead).discard()
            skipped += 1
            self._ask("skip" if skipped < count else "next")
        return skipped

    def join(self, segments: list[Path], target: Path, strip_metadata: bool, file: BinaryIO) -> None:
        """Write the segments' frames and the source's other streams to an open file, as ``target``'s suffix says."""
        what: dict[str, Any] = {"segments": [encode_path(segment) for segment in segments]}
        what |= {"target": encode_path(Path(file.name)), "suffix": target.suffix.lower(), "strip": strip_metadata}
        self._process.ask(self.path, {"do": "join", "seconds": 0}, dumps(what).encode())  # copying takes what it takes
        answer = self._process.answer(self.path).header
        if "failed" in answer:
            raise OSError(answer["errno"], answer["failed"])

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _ask(self, what: str) -> None:
        self._process.ask(self.path, {"do": what})
        self._ahead: AnswerReader | None = None  # not received yet

    def _take(self) -> tuple[Frame, Picture]:
        answer = cast(AnswerReader, self._ahead)
        header = answer.header
        pixels = answer.array((3, self.stream.height, self.stream.width))
        about = header["pixel_format"], tuple(header["tags"]), header["rotation"]
        frame = Frame(header["pts"], Fraction(*header["time_base"]), *about)
        return frame, Picture(pixels, metadata=Metadata(source=str(self.path)))


def _fraction(pair: list[int] | None) -> Fraction | None:
    return Fraction(*pair) if pair else None
