"""What a batch will do, file by file, before it is done."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msrn import images
from msrn.batch.decision import decide, first_frame, first_picture
from msrn.batch.plan import STDIO, Job
from msrn.batch.series import counted
from msrn.batch.settings import Settings
from msrn.errors import MSRNError, SeveralPicturesError
from msrn.images.isolated import Decoder
from msrn.types import Limits

if TYPE_CHECKING:
    from msrn.restoration.automatic import Chooser
    from msrn.restoration.memory import Needs
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
        if job.is_raster:
            return forecast_raster(job)
        turned, times, several, moving = False, 1.0, "", False
        if job.is_video:
            picture, turned, times = first_frame(job, limits)
        else:
            data = images.read_bytes(job.source, limits.max_bytes)
            try:
                picture = decoder.decode(data, job.source, settings.frame)
            except SeveralPicturesError:
                frames = decoder.decode_frames(data, job.source, limits.max_frames)
                images.check_holds(frames.series, job.target)
                picture = first_picture(frames)
                times = frames.series.pixels / (picture.width * picture.height)  # pages differ in size
                several, moving = counted(len(frames), frames.series), frames.series.kind == "frame"
        how = decide(job, restorer, settings, picture, turned, quick=moving)
        needs = how.restorer.forecast(picture, settings.scale, how.size)
        peak = held_beside(needs)
        return JobForecast(job, "; ".join(filter(None, (several, how.note))), times * needs.seconds, peak)

    def forecast_raster(job: Job) -> JobForecast:
        from msrn.batch.raster import MOST_CACHE, raster_needs

        parts = raster_needs(job.source, restorer, settings.scale, settings.size)
        notes = list(dict.fromkeys(note for note, _ in parts if note))
        return JobForecast(
            job,
            " | ".join(notes),
            sum(needs.seconds for _, needs in parts),
            MOST_CACHE + max(held_beside(needs) for _, needs in parts),
        )

    def held_beside(needs: "Needs") -> int:
        """The peak, beside what was held before; from now on, this is held as well."""
        peak = needs.beside(kept)
        kept.update({weights: max(held, kept.get(weights, 0)) for weights, held in needs.kept.items()})
        return peak

    with closing(Decoder(limits.max_pixels, limits.max_seconds)) as decoder:
        for job in jobs:
            try:
                yield JobForecast(job) if job.source == STDIO else forecast(job)
            except MSRNError as error:
                yield JobForecast(job, error=error)
