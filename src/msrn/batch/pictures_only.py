"""What is for pictures alone is refused of videos and rasters, before anything is claimed or written."""

from collections.abc import Iterable

from msrn.batch.plan import Job
from msrn.errors import UsageError


def check_pictures_only(jobs: Iterable[Job], wanted: Iterable[str]) -> None:
    """Refuse jobs that are no pictures where something is wanted that is for pictures alone.

    Args:
        jobs: what is to be restored.
        wanted: names of what is wanted, as the caller's users know them: ``consistent``, ``confidence``, ``deadline``,
            on the command line with dashes.

    Raises:
        UsageError: a job is a video or a raster; the message says what to do.

    Example:
        >>> check_pictures_only(plan_outputs([Path("album")], Path("restored"), videos=True).jobs, ["--deadline"])
        Traceback (most recent call last):
        UsageError: --deadline is for pictures, and album/a.mp4 is a video: give --effort instead
    """
    names = list(wanted)
    for job in jobs if names else ():
        if not job.is_picture:
            name, what = names[0], "video" if job.is_video else "raster"
            dashes, deadline, _ = name.rpartition("deadline")
            instead = f"give {dashes}effort instead" if deadline else "leave it out"
            raise UsageError(f"{name} is for pictures, and {job.source} is a {what}: {instead}")
