"""What is said of a result: how far it may be from the truth, and whether it keeps to what its input allows."""

from dataclasses import dataclass
from pathlib import Path

from msrn.errors import UsageError
from msrn.images import is_lossless
from msrn.images.picture import Picture
from msrn.restoration.certificate import Departure, keep_consistent, measure
from msrn.restoration.chain import Chain
from msrn.restoration.confidence import Confidence, Estimate, NotMeasuredError
from msrn.restoration.restorer import Restorer


@dataclass(frozen=True)
class Assured:
    """A result, and what can be said of it."""

    picture: Picture
    confidence: Confidence | None = None
    """How far it is likely to be from the truth, where that was asked for and is known."""
    departure: Departure | None = None
    """How far it departs from what its input allows, where that was asked for and can be told."""
    told: tuple[str, ...] = ()
    """The same in words, or why it is not known."""


class Assurance:
    """What is to be said of one picture's result.

    Args:
        restorer: what restores the picture, settled.
        picture: the picture; of a JPEG file with its coefficients, where its bounds matter.
        target: the file that the result is written to.
        quality: of lossy formats, 1 to 100.
        confidence: estimate the result's error.
        consistent: move the result into what the picture allows, and check it.
        measured: only check it, and say nothing where that cannot be done.

    Raises:
        UsageError: the errors of a single network that is to restore it were not measured.

    Example:
        >>> assurance = Assurance(Restorer("jpeg"), photo, Path("clean.png"), 95, consistent=True)
        >>> assured = assurance.of(assurance.restorer(photo))
    """

    def __init__(
        self,
        restorer: Restorer | Chain,
        picture: Picture,
        target: Path,
        quality: int,
        *,
        confidence: bool = False,
        consistent: bool = False,
        measured: bool = False,
    ) -> None:
        self.restorer = restorer
        """What restores the picture, watched if its error is estimated; the result is the same."""
        self._picture, self._target, self._quality = picture, target, quality
        self._consistent, self._measured = consistent, measured
        self._estimate, self._unknown = None, ""
        if confidence and restorer.steps:
            try:
                self._estimate = Estimate(restorer, picture)
                self.restorer = self._estimate.restorer
            except NotMeasuredError as error:
                if len(restorer.steps) == 1:
                    raise
                self._unknown = f"error not estimated: {error}"

    def of(self, made: Picture) -> Assured:
        """The result as it is to be written, and what is said of it.

        Args:
            made: what the restorer made of the picture.
        """
        confidence = self._estimate.of(made) if self._estimate is not None else None
        likely = str(confidence) if confidence is not None else self._unknown
        if not (self._consistent or self._measured):
            return Assured(made, confidence, None, (likely,))
        try:
            if not is_lossless(self._target, self._quality):
                raise UsageError(f"{self._target.suffix} would not hold the result exactly")
            if self._consistent:
                made = certify(self.restorer, self._picture, made)
            departure = measure(self._picture, made)
        except UsageError as error:
            return Assured(made, confidence, None, (likely, f"not certified: {error}" if self._consistent else ""))
        return Assured(made, confidence, departure, (likely, str(departure)))


def certify(restorer: Restorer | Chain, picture: Picture, made: Picture) -> Picture:
    """Move a result into what its input allows.

    Args:
        restorer: what restored the picture.
        picture: the picture; of a JPEG file, with its coefficients.
        made: the result.

    Raises:
        UsageError: nothing bounds such a result; the message says why.
    """
    check_bounded(restorer)
    return keep_consistent(picture, made)


def check_bounded(restorer: Restorer | Chain) -> None:
    """Refuse what removes noise, as no input bounds its results.

    Raises:
        UsageError: it does.
    """
    if any(step.weights.card.task in ("denoise", "photo") for step in restorer.steps):
        raise UsageError("noise was removed, and noise has no bounds")
