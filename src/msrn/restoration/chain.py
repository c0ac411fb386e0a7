"""Several restorers, one after the other, as one."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Unpack

from msrn.images.picture import Picture
from msrn.restoration.colors import passes
from msrn.restoration.diagnosis import Diagnosis
from msrn.restoration.engine import silent
from msrn.restoration.memory import Needs
from msrn.restoration.restorer import How, Restorer
from msrn.types import Size

_DIAGNOSIS_COPIES = 3
"""How many copies of a picture there are while it is looked at, itself included."""


class Chain:
    """Restorers one after the other; none returns the picture as it is.

    Args:
        steps: in order; only the last may change the size.
        note: why these.
        found: the diagnosis that they follow from.
        bounded: move the first step's result into what the picture's file allows.
    """

    def __init__(
        self, steps: Sequence[Restorer], note: str, found: Diagnosis | None = None, bounded: bool = False
    ) -> None:
        self.steps, self.note, self.found, self.bounded = tuple(steps), note, found, bounded

    def with_steps(self, steps: Sequence[Restorer]) -> "Chain":
        """The same with others in place of its restorers."""
        return Chain(steps, self.note, self.found, self.bounded)

    def __call__(self, picture: Picture, **how: Unpack[How]) -> Picture:
        """Restore a picture; see ``Restorer.__call__``."""
        progress = how.get("progress") or silent
        work = [_multiply_adds(step, picture, how.get("scale"), how.get("size")) for step in self.steps]

        def report(number: int, share: float) -> None:
            progress((sum(work[:number]) + share * work[number]) / sum(work))

        for made in self.stages(picture, report, **how):
            picture = made
        return picture

    def stages(self, picture: Picture, report: Callable[[int, float], None], **how: Unpack[How]) -> Iterator[Picture]:
        """What a picture is after each step.

        Args:
            picture: the picture.
            report: called with the step's number, from 0, and the share of it that is done.
            how: see ``Restorer.__call__``.
        """
        alone = How(at_once=how.get("at_once", 1))
        for number, step in enumerate(self.steps):
            asked = (how if step.enlarges else alone) | How(progress=partial(report, number))
            made = step(picture, **asked)
            picture = _within_bounds(picture, made) if self.bounded and not number else made
            yield picture

    def within(self, seconds: float, picture: Picture, scale: float | None = None, size: Size | None = None) -> "Chain":
        """The same steps with as much effort as is forecast to take no longer; see ``Restorer.within``.

        Each step gets its share of the time.
        """
        each = [step.forecast(picture, scale, size).seconds for step in self.steps]
        steps = [
            step.within(seconds * own / max(sum(each), 1e-9), picture, scale, size)
            for step, own in zip(self.steps, each, strict=True)
        ]
        return self.with_steps(steps)

    @property
    def at_once(self) -> int:
        """See ``Restorer.at_once``."""
        return min((step.at_once for step in self.steps), default=1)

    def result_size(self, picture: Picture, scale: float | None = None, size: Size | None = None) -> tuple[int, int]:
        """``(height, width)`` of the result."""
        if not self.steps:
            return picture.height, picture.width
        return self.steps[-1].result_size(picture, scale, size)

    def forecast(self, picture: Picture, scale: float | None = None, size: Size | None = None) -> Needs:
        """Forecast seconds and memory; see ``Restorer.forecast``.

        Each step computes beside what the others hold on to, from the second such picture on even the first.
        """
        each = [step.forecast(picture, scale, size) for step in self.steps]
        kept = {weights: held for step in each for weights, held in step.kept.items()}
        looking = _DIAGNOSIS_COPIES * picture.pixels.nbytes
        peak = max([looking, *(step.beside(kept) for step in each)])
        return Needs(sum(step.seconds for step in each), peak, kept)


def _within_bounds(picture: Picture, made: Picture) -> Picture:
    """What was made of a JPEG, moved into what its file allows, or nearly; as it is where the file does not tell."""
    from msrn.restoration.certificate import keep_consistent

    coding = picture.metadata.jpeg
    if coding is None or coding.coefficients is None:
        return made
    return keep_consistent(picture, made, quick=True)


def _multiply_adds(step: Restorer, picture: Picture, scale: float | None, size: Size | None) -> float:
    """What a step has to compute, for the share of all steps that it is."""
    engine, (height, width) = step.engine_for(picture), step.result_size(picture, scale, size)
    return engine.config.multiply_adds_per_pixel * passes(engine, len(picture.pixels)) * height * width
