"""Several pictures of one file, restored one after the other: an animation's frames, or pages."""

from collections import Counter
from collections.abc import Callable

from msrn.batch.decision import Decision, Outcome
from msrn.batch.plan import Job
from msrn.errors import MSRNError
from msrn.images import Series
from msrn.images.picture import Picture

_TOLD = 3
"""Kinds of pages that are told of a file, each with what was done to it."""


class SeriesWork:
    """The pictures of one file, one after the other.

    Args:
        job: the file's.
        series: what the file says of all.
        decide: decides what restores one, whether or not it is one of many that move.
        scale: by how much they are enlarged; see ``Restorer.__call__``.
        progress: called with the share done, 0 to 1.
    """

    def __init__(
        self,
        job: Job,
        series: Series,
        decide: Callable[[Picture, bool], Decision],
        scale: float | None,
        progress: Callable[[float], None],
    ) -> None:
        self._job, self._series, self._decide = job, series, decide
        self._scale, self._progress = scale, progress
        self._how: list[Decision] = []

    def restore(self, picture: Picture) -> Picture:
        """Restore the next picture.

        Raises:
            MSRNError: it cannot be restored.
        """
        number = len(self._how)
        moving = self._series.kind == "frame"  # frames that are not restored alike would flicker
        how = self._how[0] if number and moving else self._decide(picture, moving)
        self._how.append(how)

        def report(share: float) -> None:
            self._progress((number + share) / self._series.count)

        try:
            return how.restorer(picture, scale=self._scale, size=how.size, progress=report)
        except (MSRNError, MemoryError):
            raise
        except Exception as error:  # it must not look like a fault of the file that is written
            raise MSRNError(f"{self._job.name}: internal error, please report it: {error!r}") from error

    def outcome(self) -> Outcome:
        """What became of the job: what was done to how many pictures."""
        notes = Counter(how.note for how in self._how)
        found = [f"{counted(times, self._series)}: {note}" for note, times in notes.most_common(_TOLD)]
        if len(notes) == 1:
            found = list(filter(None, (counted(len(self._how), self._series), *notes)))
        found += ["others as each needs"] if len(notes) > _TOLD else []
        return self._how[0].outcome(self._job, sum(how.pixels for how in self._how), "; ".join(found))


def counted(number: int, series: Series) -> str:
    """A number of frames or pages, in words."""
    return f"{number} {series.kind}{'s' * (number != 1)}"
