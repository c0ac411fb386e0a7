"""A video, as the rest of the program sees it: frames that another process decodes."""

from collections.abc import Iterator
from fractions import Fraction
from json import dumps
from pathlib import Path
from typing import Any, BinaryIO, cast

from msrn.images.picture import Metadata, Picture
from msrn.images.video.formats import Frame, Stream, pyav
from msrn.system.guarded_process import AnswerReader, GuardedProcess, encode_path
from msrn.types import Limits

Frames = Iterator[tuple[Frame, Picture]]


class VideoReader:
    """A video that another process decodes, one frame ahead of what is asked for.

    Args:
        path: the file.
        limits: it is refused if it has larger frames or more of them, or takes longer for one.
        suffix: suffix of the container that :meth:`join` will write, if it will.
        module: name of the module whose ``main`` is that process.

    Raises:
        UsageError: PyAV is missing.
        ImageError: it cannot be opened; other methods: it cannot be decoded further.
    """

    def __init__(
        self, path: Path, limits: Limits | None = None, suffix: str = "", module: str = "msrn.images.video.decoder"
    ) -> None:
        pyav()
        limits = limits or Limits()
        self.path = path
        self._process = GuardedProcess(module, limits.max_seconds)
        most = {"max_pixels": limits.max_pixels, "max_frames": limits.max_frames}
        self._process.ask(path, {"do": "open", "path": encode_path(path), "suffix": suffix, **most})
        try:
            about = self._process.answer(path).header
        except BaseException:
            self.close()
            raise
        rate, time_base, aspect = (about[key] and Fraction(about[key]) for key in ("rate", "time_base", "aspect"))
        self.stream = Stream(about["width"], about["height"], about["frames"], rate, time_base, aspect)
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
        pts, time_base, pixel_format, tags, rotation = answer.header["frame"]
        pixels = answer.array((3, self.stream.height, self.stream.width))
        frame = Frame(pts, Fraction(time_base), pixel_format, tuple(tags), rotation)
        return frame, Picture(pixels, metadata=Metadata(source=str(self.path)))
