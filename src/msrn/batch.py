"""Many files through one :class:`~msrn.engine.Restorer`.

:func:`plan_outputs` settles every name before the first pixel is read; :func:`restore_files` works through the
plan, records what fails and goes on.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msrn import files
from msrn.degrade import enlarged_size
from msrn.errors import MSRNError, OutputError, UsageError
from msrn.picture import Picture

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.engine import Restorer


@dataclass(frozen=True)
class Job:
    """One input file and where its result goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    job: Job
    error: MSRNError | None = None
    skipped: bool = False


def plan_outputs(
    inputs: Sequence[Path],
    output: Path,
    *,
    recursive: bool = False,
    suffix: str = "",
    extension: str | None = None,
) -> list[Job]:
    """Pair every input image with its output path.

    ``output`` is a file when one file comes in and the name has an image suffix, otherwise a folder. Folders
    among the inputs stand for the images in them; with ``recursive``, their tree is mirrored.

    Raises:
        UsageError: an input does not exist, a folder holds no image, two inputs would be written to one output, or
            an output would overwrite an input.
    """
    single = len(inputs) == 1 and not inputs[0].is_dir() and output.suffix.lower() in files.FORMATS
    jobs: list[Job] = []
    for given in inputs:
        for source, relative in _expand(given, output, recursive):
            name = relative.with_name(relative.stem + suffix + _extension(source, extension))
            jobs.append(Job(source, output if single else output / name))
    _check_distinct(jobs)
    return jobs


def _expand(given: Path, output: Path, recursive: bool) -> Iterable[tuple[Path, Path]]:
    if given.is_dir():
        found = sorted(path for path in (given.rglob("*") if recursive else given.iterdir()))
        images = [path for path in found if path.suffix.lower() in files.FORMATS and path.is_file()]
        # An output folder inside the input folder must not feed on itself.
        inside = [path for path in images if not path.is_relative_to(output) or given.is_relative_to(output)]
        if not inside:
            raise UsageError(f"no images in {given}" + ("" if recursive else " (add -r to search its subfolders)"))
        return [(path, path.relative_to(given)) for path in inside]
    if not given.exists():
        raise UsageError(f"no such file or folder: {given}")
    return [(given, Path(given.name))]


def _extension(source: Path, extension: str | None) -> str:
    if extension is not None:
        return "." + extension.removeprefix(".")
    # Lossy input is kept lossless by default: nothing is lost by restoring.
    return ".png" if source.suffix.lower() not in (".png", ".tif", ".tiff", ".webp", ".bmp") else source.suffix


def _check_distinct(jobs: Sequence[Job]) -> None:
    seen: dict[Path, Path] = {}
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        target = job.target.resolve()
        if target in seen:
            raise UsageError(f"{seen[target]} and {job.source} would both be written to {job.target}; use --suffix")
        if target in sources:
            raise UsageError(f"{job.target} is an input; choose another output folder or use --suffix")
        seen[target] = job.source


def restore_files(
    jobs: Sequence[Job],
    restorer: "Restorer",
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    quality: int = 95,
    strip_metadata: bool = False,
    existing: str = "refuse",
    fail_fast: bool = False,
    progress: Callable[[Job, float], None] = lambda job, share: None,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Restore every job's file; an error costs its own file only, unless ``fail_fast``.

    Args:
        jobs: from :func:`plan_outputs`.
        restorer: what restores.
        scale: see ``Restorer.__call__``.
        size: exact ``(height, width)``.
        quality: of lossy output formats.
        strip_metadata: write pixels only.
        existing: what to do when an output exists: ``refuse``, ``skip`` or ``overwrite``.
        fail_fast: raise the first error.
        progress: called with the job at hand and the share of it that is done.
        done: called after each job.

    Raises:
        OutputError: an output exists and ``existing`` is ``refuse`` (before anything is read).
    """
    if existing == "refuse":
        for job in jobs:
            if job.target.exists():
                raise OutputError(f"{job.target} exists; use --overwrite or --skip-existing")
    outcomes: list[Outcome] = []
    for job in jobs:
        outcome = Outcome(job)
        if existing == "skip" and job.target.exists():
            outcome = Outcome(job, skipped=True)
        else:
            try:
                picture = files.read(job.source)
                files.check_output(job.target, *_output_size(picture, restorer, scale, size))
                restored = restorer(
                    picture, scale=scale, size=size, progress=lambda share, job=job: progress(job, share)
                )
                files.write(restored, job.target, quality=quality, strip_metadata=strip_metadata)
            except MSRNError as error:
                if fail_fast:
                    raise
                outcome = Outcome(job, error)
        outcomes.append(outcome)
        done(outcome)
    return outcomes


def _output_size(
    picture: Picture, restorer: "Restorer", scale: float | None, size: tuple[int, int] | None
) -> tuple[int, int]:
    if restorer.weights.card.task != "sr":
        return picture.width, picture.height
    height, width = enlarged_size((picture.height, picture.width), scale, size)
    return width, height
