"""Where the maps of likely errors go that are drawn beside results."""

from dataclasses import replace
from pathlib import Path

from msrn import images
from msrn.batch.plan import Plan
from msrn.errors import OutputError, UsageError


def with_maps(plan: Plan, place: Path, *, overwrite: bool) -> Plan:
    """Return a plan whose jobs have a map each: a file for one picture, for several a folder with the results' names.

    Args:
        plan: what is restored.
        place: the file or folder.
        overwrite: whether maps may take the place of other files.

    Raises:
        UsageError: ``place`` is no name for that, or two files would have one name.
        OutputError: a map exists.

    Example:
        >>> plan = with_maps(plan_outputs([Path("album")], Path("restored")), Path("doubts"), overwrite=False)
    """
    jobs = [replace(job, heatmap=_map_of(job.target, plan.folder, place)) for job in plan.jobs]
    taken = {path.resolve() for job in jobs for path in (job.source, job.target)}
    for job in jobs:
        assert job.heatmap is not None
        if job.heatmap.resolve() in taken:
            raise UsageError(f"{job.heatmap} has its name already: give --confidence another, or use --full-names")
        taken.add(job.heatmap.resolve())
        if job.heatmap.exists() and not overwrite and not job.target.exists():  # otherwise the target settles it
            raise OutputError(f"{job.heatmap} exists; use --overwrite")
    return replace(plan, jobs=jobs)


def _map_of(target: Path, folder: Path | None, place: Path) -> Path:
    if folder is not None:
        if place.suffix.lower() in images.FORMATS:
            raise UsageError(f"{place} is one file, and there are results in a folder: name a folder for the maps, too")
        return place / target.relative_to(folder).with_suffix(".png")
    images.check_output(place, 1, 1)
    return place
