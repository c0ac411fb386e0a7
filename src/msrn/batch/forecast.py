"""What a batch will do, file by file, before it is done."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msrn import images
from msrn.batch.plan import STDIO, Job
from msrn.batch.work import Settings, decide, first_frame
from msrn.errors import MSRNError
from msrn.images.isolated import Decoder
from msrn.types import Limits

if TYPE_CHECKING:
    from msrn.restoration.automatic import Chooser
    from msrn.restoration.restorer import Restorer


@dataclass(frozen=True)
class JobForecast:
    """What a job is expected to become."""

    job: Job
    note: str = ""
    """What the picture was found to need, where that was to be found."""
    seconds: float = 0.0
    bytes: int = 0
    """Memory at the worst moment."""
    error: MSRNError | None = None


def forecast_batch(
    jobs: Sequence[Job], restorer: "Restorer | Chooser", settings: Settings, limits: Limits | None = None
) -> Iterator[JobForecast]:
    """Forecasts of a batch: for each job what will be done and why, and the time and memory that it takes.

    Standard input is not looked at.

    Example::

        for expected in forecast_batch(plan.jobs, restorer, Settings(scale=2)):
            print(expected.job.source, expected.seconds)
    """
    limits = limits or Limits()
    kept: dict[str, int] = {}  # what the networks of the jobs before hold on to

    def forecast(job: Job) -> JobForecast:
        if job.is_video:
            picture, turned, frames = first_frame(job, limits)
        else:
            picture = decoder.decode(images.read_bytes(job.source, limits.max_bytes), job.source)
            turned, frames = False, 1
        how = decide(job, restorer, settings, picture, turned)
        needs = how.restorer.forecast(picture, settings.scale, how.size)
        peak = needs.beside(kept)
        kept.update({weights: max(held, kept.get(weights, 0)) for weights, held in needs.kept.items()})
        return JobForecast(job, how.note, frames * needs.seconds, peak)

    with closing(Decoder(limits.max_pixels, limits.max_seconds)) as decoder:
        for job in jobs:
            try:
                yield JobForecast(job) if job.source == STDIO else forecast(job)
            except MSRNError as error:
                yield JobForecast(job, error=error)
