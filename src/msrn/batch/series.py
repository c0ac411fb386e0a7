"""Several pictures of one file, restored one after the other: an animation's frames, or pages."""

from collections import Counter
from typing import TYPE_CHECKING

from msrn.batch.plan import Job
from msrn.errors import MSRNError
from msrn.images import Series
from msrn.images.picture import Picture

if TYPE_CHECKING:  # it imports this
    from msrn.batch.work import Decision, Outcome, Work

_TOLD = 3
"""Kinds of pages that are told of a file, each with what was done to it."""


class SeriesWork:
    """The pictures of one file, one after the other.

    Args:
        work: what restores them.
        job: the file's.
        series: what the file says of all.
    """

    def __init__(self, work: "Work", job: Job, series: Series) -> None:
        self._work, self._job, self._series = work, job, series
        self._how: list[Decision] = []

    def restore(self, picture: Picture) -> Picture:
        """Restore the next picture.

        Raises:
            MSRNError: it cannot be restored.
        """
        number = len(self._how)
        moving = self._series.kind == "frame"  # frames that are not restored alike would flicker
        how = self._how[0] if number and moving else self._work.decide(self._job, picture, quick=moving)
        self._how.append(how)

        def report(share: float) -> None:
            self._work.progress(self._job, (number + share) / self._series.count)

        try:
            return how.restorer(picture, scale=self._work.settings.scale, size=how.size, progress=report)
        except (MSRNError, MemoryError):
            raise
        except Exception as error:  # it must not look like a fault of the file that is written
            raise MSRNError(f"{self._job.name}: internal error, please report it: {error!r}") from error

    def outcome(self) -> "Outcome":
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
