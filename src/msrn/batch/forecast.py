"""What a batch will do, file by file, before it is done."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msrn import images
from msrn.batch.outcome import note_of
from msrn.batch.plan import STDIO, Job
from msrn.batch.read_ahead import Limits
from msrn.batch.store import Settings
from msrn.batch.videos import first_frame
from msrn.errors import MSRNError
from msrn.images.isolated import Decoder

if TYPE_CHECKING:
    from msrn.restoration.automatic import Automatic
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
    jobs: Sequence[Job], restorer: "Restorer | Automatic", settings: Settings, limits: Limits | None = None
) -> Iterator[JobForecast]:
    """Forecasts of a batch: for each job what will be done and why, and the time and memory that it takes.

    Standard input is not looked at.

    Example::

        for expected in forecast_batch(plan.jobs, restorer, Settings(scale=2)):
            print(expected.job.source, expected.seconds)
    """
    limits = limits or Limits()
    kept: dict[str, int] = {}  # by the networks of the jobs before
    with closing(Decoder(limits.pixels, limits.seconds)) as decoder:
        for job in jobs:
            if job.source == STDIO:
                yield JobForecast(job)
                continue
            try:
                yield _forecast(job, restorer, settings, limits, decoder, kept)
            except MSRNError as error:
                yield JobForecast(job, error=error)


def _forecast(
    job: Job,
    restorer: "Restorer | Automatic",
    settings: Settings,
    limits: Limits,
    decoder: Decoder,
    kept: dict[str, int],
) -> JobForecast:
    """Forecast one job; what its networks hold on to is added to ``kept``."""
    if job.is_video:
        frames, picture, size = first_frame(job, settings, limits)
    else:
        picture = decoder.decode(images.read_bytes(job.source, limits.bytes), job.source)
        frames, size = 1, settings.size
    chosen = restorer.settled(picture, settings.scale, size)
    height, width = chosen.result_size(picture, settings.scale, size)
    if not job.is_video:
        images.check_output(job.target, width, height)
    needs = chosen.forecast(picture, settings.scale, size)
    peak = needs.beside(kept)
    kept |= {weights: max(held, kept.get(weights, 0)) for weights, held in needs.kept.items()}
    return JobForecast(job, note_of(chosen, picture, size), frames * needs.seconds, peak)
