"""A plan worked through: what is done already is left alone, the rest goes through the pipeline."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from msrn.batch.decision import Outcome
from msrn.batch.output_folder import ClaimedOutput
from msrn.batch.pictures_only import check_pictures_only
from msrn.batch.pipeline import Pipeline, is_hopeless
from msrn.batch.plan import Job
from msrn.batch.settings import Settings
from msrn.batch.work import Work
from msrn.errors import OutputError
from msrn.images.isolated import Decoder
from msrn.system.atomic import reason
from msrn.system.machine import cores
from msrn.types import Limits

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.restoration.automatic import Chooser
    from msrn.restoration.restorer import Restorer

Existing = Literal["refuse", "skip", "overwrite"]


def restore_files(
    jobs: Sequence[Job],
    output: ClaimedOutput,
    restorer: "Restorer | Chooser",
    settings: Settings | None = None,
    *,
    limits: Limits | None = None,
    decoder: Decoder | None = None,
    existing: Existing = "refuse",
    fail_fast: bool = False,
    workers: int = 1,
    measured: bool = False,
    deadline: float = 0,
    progress: Callable[[Job, float], None] = lambda job, share: None,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Restore every job's file; an error costs its own file only, unless ``fail_fast``.

    An output that the manifest says these settings made of this input is left alone, whatever ``existing`` says.

    Args:
        jobs: the jobs of a plan.
        output: from :func:`~msrn.batch.output_folder.claim`, for the same plan.
        restorer: what restores, or chooses what does.
        settings: what to make.
        limits: larger inputs fail.
        decoder: what decodes pictures, if it was started already; by default one within ``limits``. It is closed.
        existing: what to do where something else is in an output's place: refuse the run, skip the file, overwrite it.
        fail_fast: raise the first error.
        workers: how many files are decoded, and how many large ones encoded, beside the network.
        measured: say in each outcome how far the result departs from its input, where that can be told.
        deadline: seconds that the networks may take for a picture, by a forecast; 0 for any. For pictures alone, as
            what ``settings`` have of certificates and confidence.
        progress: called with a job at hand and the share of it that is done, from several threads.
        done: called after each job.

    Returns:
        What became of each job, in the jobs' order.

    Raises:
        OutputError: an output exists and ``existing`` is ``refuse`` (before anything is decoded), or nothing more
            can be written (disk full).
        UsageError: something is wanted that is for pictures alone, and there is a video or a raster.
    """
    settings, limits = settings or Settings(), limits or Limits()
    wanted = {"deadline": deadline, "consistent": settings.consistent, "confidence": settings.confidence}
    check_pictures_only(jobs, [name for name, value in wanted.items() if value])
    # A single image's file has no place for it, and naming all that may be needed costs loading it.
    digest = settings.digest(restorer, deadline) if output.folder or not all(job.is_picture for job in jobs) else ""
    work = Work(restorer, output, settings, limits, digest, existing != "overwrite", progress, measured, deadline)
    outcomes: dict[Job, Outcome] = {}

    def settle(outcome: Outcome) -> None:
        """Record what became of a job, and tell; raises its error if the batch has to stop at it."""
        outcomes[outcome.job] = outcome
        if outcome.error is not None:
            output.record_failure(outcome.job, outcome.error)
        done(outcome)
        if outcome.error and (fail_fast or is_hopeless(outcome.error)):
            raise outcome.error

    todo = _not_done_yet(jobs, output, digest, existing, settle)
    if todo and output.folder is not None:  # naming all choices costs making them
        output.begin(restorer.choices)
    coefficients = measured or settings.consistent
    decoder = decoder or Decoder(limits.max_pixels, limits.max_seconds, coefficients=coefficients)
    with Pipeline(work, decoder, settle, workers, several=len(todo) > cores()) as pipeline:  # fewer leave cores idle
        pipeline.run(todo)
    return [outcomes[job] for job in jobs]


def _not_done_yet(
    jobs: Sequence[Job],
    output: ClaimedOutput,
    digest: str,
    existing: Existing,
    settle: Callable[[Outcome], None],
) -> list[Job]:
    """The jobs that are left when those are settled whose outputs exist, or can have no such name."""
    todo: list[Job] = []
    unnameable: list[Outcome] = []
    for job in jobs:
        try:
            taken = not job.to_stdout and job.target.exists()
        except OSError as error:  # its name is too long, say
            unnameable.append(Outcome(job, OutputError(f"cannot write {job.target}: {reason(error)}")))
            continue
        if not taken:
            todo.append(job)
        elif output.finished(job, digest):
            settle(Outcome(job, skipped="done before"))
        elif existing == "skip":
            settle(Outcome(job, skipped="exists"))
        elif existing == "refuse":
            raise OutputError(f"{job.target} exists; use --overwrite or --skip-existing")
        else:
            todo.append(job)
    output.forget_failures()
    for outcome in unnameable:
        settle(outcome)
    return todo
