"""What became of each job of a batch."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from msrn.batch.output_folder import ClaimedOutput
from msrn.batch.plan import Job
from msrn.errors import ImageError, MSRNError
from msrn.images.picture import Picture
from msrn.types import Size

if TYPE_CHECKING:
    from msrn.restoration.restorer import PictureRestorer

_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors that every other file would meet as well."""

_VISIBLE = 0.02
"""Change of proportions that is told."""

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    job: Job
    error: MSRNError | None = None
    skipped: Literal["", "exists", "done before"] = ""
    pixels: int = 0
    """Of the output, where one was made."""
    note: str = ""
    """What the picture was found to need, where that was to be found."""


class Outcomes:
    """The outcomes of a batch so far.

    Args:
        output: where failures are recorded.
        fail_fast: stop at the first failure.
        done: called with each outcome.
    """

    def __init__(self, output: ClaimedOutput, fail_fast: bool, done: Callable[[Outcome], None]) -> None:
        self._output, self._fail_fast, self._done = output, fail_fast, done
        self._of: dict[Job, Outcome] = {}

    def __getitem__(self, job: Job) -> Outcome:
        return self._of[job]

    def settle(self, outcome: Outcome) -> None:
        """Record what became of a job, and tell.

        Raises:
            MSRNError: the job's error, if the batch has to stop at it.
        """
        self._of[outcome.job] = outcome
        if outcome.error is not None:
            self._output.record(outcome.job, outcome.error)
        self._done(outcome)
        cause = outcome.error and outcome.error.__cause__
        if outcome.error is not None and (self._fail_fast or getattr(cause, "errno", None) in _HOPELESS):
            raise outcome.error


def attempt(job: Job, work: Callable[[], T]) -> T | Outcome:
    """Return what ``work`` returns; whatever goes wrong in it is the outcome of this one job."""
    try:
        return work()
    except MSRNError as error:
        return Outcome(job, error)
    except MemoryError:
        return Outcome(job, ImageError(f"{job.source} needs more memory than there is"))
    except Exception as error:
        return Outcome(job, MSRNError(f"{job.source}: internal error, please report it: {error!r}"))


def note_of(chosen: "PictureRestorer", picture: Picture, size: Size | None) -> str:
    """Why this was chosen, and whether the proportions change: only a size with both sides can change them."""
    changed = 0.0
    if size and size[0] and size[1]:
        changed = abs(size[1] / size[0] / (picture.width / picture.height) - 1)
    return "; ".join(filter(None, [chosen.note, f"proportions changed by {changed:.0%}" if changed > _VISIBLE else ""]))
