"""The frames of an animation or the pages of a document, one after the other, and what a file says of them together."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any, Literal

from msrn.errors import UsageError
from msrn.images.picture import Picture

Kind = Literal["frame", "page"]


@dataclass(frozen=True)
class Series:
    """What a file says of all its pictures together.

    Raises:
        UsageError: the times are not as many as the frames.
    """

    kind: Kind
    """Frames are of one size and are shown for a time each; pages stand for themselves."""
    count: int
    seconds: tuple[Fraction | None, ...] = ()
    """How long each frame is shown; empty for pages. None for the first of an animated PNG that is no frame: programs
    that know no animations show it instead."""
    plays: int = 0
    """How often an animation is shown; 0 is for ever."""
    pixels: int = 0
    """Of all together; 0 where it is not known."""

    def __post_init__(self) -> None:
        if self.kind == "frame" and len(self.seconds) != self.count:
            raise UsageError(f"{self.count} frames need as many times, got {len(self.seconds)}")

    def to_json(self) -> dict[str, Any]:
        """Values that JSON can hold."""
        return vars(self) | {"seconds": [each and str(each) for each in self.seconds]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Series":
        """What :meth:`to_json` made."""
        seconds = tuple(each and Fraction(each) for each in values["seconds"])
        return cls(values["kind"], values["count"], seconds, values["plays"], values["pixels"])

    def units(self, per_second: int, least: int = 0) -> list[int]:
        """How long each frame is shown in a format's units.

        Rounding does not add up: an animation takes as long as before. The first of an animated PNG that is no frame
        has none.

        Args:
            per_second: how many units a second has.
            least: fewer are not given to a frame whose time is no whole number of units.
        """
        times = [each * per_second for each in self.seconds if each is not None]
        ends = [round(end) for end in accumulate(times)]
        rounded = [end - start for start, end in zip([0, *ends], ends, strict=False)]
        return [
            int(time) if time.denominator == 1 else max(least, units)
            for time, units in zip(times, rounded, strict=True)
        ]


class Frames:
    """The pictures of a series: each iteration decodes them anew, each when it is asked for.

    Args:
        series: what is said of all together.
        each: returns them one by one.

    Example:
        >>> frames = msrn.read_frames("cat.gif")
        >>> msrn.write_frames(frames.map(msrn.Restorer("denoise")), "clean.gif")
    """

    def __init__(self, series: Series, each: Callable[[], Iterator[Picture]]) -> None:
        self.series, self._each = series, each

    @classmethod
    def of(cls, pictures: Sequence[Picture], seconds: Sequence[float | Fraction] = (), plays: int = 0) -> "Frames":
        """Make an animation of pictures, or without times the pages of a TIFF.

        Args:
            pictures: what is to be seen.
            seconds: how long each picture of an animation is shown.
            plays: how often an animation is shown; 0 is for ever.

        Raises:
            UsageError: no picture, or not as many times.
        """
        if not pictures:
            raise UsageError("there is no picture")
        times = tuple(Fraction(each).limit_denominator(65_535) for each in seconds)
        pixels = sum(picture.width * picture.height for picture in pictures)
        series = Series("frame" if times else "page", len(pictures), times, plays, pixels)
        return cls(series, lambda: iter(pictures))

    def __iter__(self) -> Generator[Picture]:
        yield from self._each()

    def __len__(self) -> int:
        return self.series.count

    def __repr__(self) -> str:
        return f"Frames({self.series.count} {self.series.kind}{'s' * (self.series.count != 1)})"

    def map(self, change: Callable[[Picture], Picture]) -> "Frames":
        """The same series of other pictures, each of which ``change`` makes when it is asked for."""
        return Frames(self.series, lambda: map(change, self))
