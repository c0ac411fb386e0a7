"""Which file goes where, settled before the first pixel is read."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msrn import images
from msrn.batch.manifest import FAILURES, MANIFEST, outputs_in
from msrn.errors import UsageError
from msrn.images import video
from msrn.images.frames.gif import is_animated
from msrn.images.raster import is_raster
from msrn.system.atomic import reason
from msrn.system.extras import installed_version, missing

_NOT_READ = (
    *(".jp2", ".psd", ".exr", ".hdr", ".svg"),
    *(".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".dds", ".ico", ".j2k", ".jxr", ".qoi"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"),
)
"""Images that somebody may expect to find restored."""

_RASTERS = (".tif", ".tiff")
"""What rasters are written as."""
_ZARR = ".zarr"
"""Extension of folders that are one raster."""

STDIO = Path("-")
"""Standard input or standard output."""


@dataclass(frozen=True)
class Job:
    """One input file and where its result goes."""

    source: Path
    target: Path
    to_stdout: bool = False
    """Then the target only says in which format."""
    heatmap: Path | None = None
    """Where the map of its likely errors goes, if one is drawn."""
    is_raster: bool = False
    """Whether the source is a raster that is restored window by window."""

    @property
    def name(self) -> str:
        """The input, as messages name it."""
        return "standard input" if self.source == STDIO else str(self.source)

    @property
    def has_files(self) -> bool:
        """Whether both ends are files, neither standard input nor standard output."""
        return self.source != STDIO and not self.to_stdout

    @property
    def is_video(self) -> bool:
        """Whether the source's name is a video's."""
        return _is_video(self.source)

    @property
    def is_picture(self) -> bool:
        """Whether the source is decoded as a whole, or as several pictures."""
        return not (self.is_video or self.is_raster)


@dataclass(frozen=True)
class Plan:
    """All jobs of a run, and what else was found in the folders given."""

    jobs: list[Job] = field(default_factory=list[Job])
    folder: Path | None = None
    """The output folder; None where the output is one file or standard output."""
    links: list[Path] = field(default_factory=list[Path])
    """Symbolic links to folders, which are not entered."""
    videos_left_out: list[Path] = field(default_factory=list[Path])
    """Videos in folders, where they were not asked for."""
    not_read: list[Path] = field(default_factory=list[Path])
    """Images in folders, of formats that are not read."""
    unlisted: list[str] = field(default_factory=list[str])
    """Why which folders within the given ones cannot be listed."""
    without_coordinates: list[Path] = field(default_factory=list[Path])
    """Rasters that are taken for pictures, as what reads rasters is not installed."""
    made_before: list[Path] = field(default_factory=list[Path])
    """Inputs that earlier runs made, as manifests in folders within the given ones say."""


def plan_outputs(
    inputs: Sequence[Path],
    output: Path,
    *,
    recursive: bool = False,
    suffix: str = "",
    extension: str | None = None,
    videos: bool = False,
    full_names: bool = False,
    frame: int | None = None,
) -> Plan:
    """Pair every input image or video with its output path.

    Args:
        inputs: files, folders (the images in them), patterns such as ``album/*.jpg``, or ``-`` for standard input.
        output: a file if its name has an extension and no folder is called so, ``-`` for standard output of an image,
            otherwise a folder.
        recursive: search folders to any depth, and mirror their tree. Symbolic links to folders are not entered, so
            that none leads out of the tree or in circles; those to files are read like files.
        suffix: added to output names.
        full_names: keep inputs' extensions in output names: ``a.jpg`` becomes ``a.jpg.png``, apart from ``a.png``.
        extension: of output names, images' or videos'. By default lossless formats and animated GIFs stay what they
            are, other images become PNG, and videos that cannot be written as they are become MP4.
        videos: take videos from folders, too: one may cost as much as all the images.
        frame: the one frame or page that is restored of files that have several; rasters are pictures then.

    Raises:
        UsageError: an input does not exist, a folder holds no image, two inputs would be written to one output, an
            output would overwrite an input, the one file cannot be made of what comes in, or one frame of a video is
            asked for.
    """
    extension = checked_extension(suffix, extension)
    given = _without_outputs([path for name in inputs for path in _matches(name)], output)
    if output == STDIO:
        return _plan_stdout(given, extension)
    single = _is_one_file(given, output, frame)
    unread = _NOT_READ if installed_version("rasterio") else (*_NOT_READ, _ZARR)
    jobs: dict[tuple[Path, Path], Job] = {}  # the same file is restored once, however often it is given
    plan = Plan(folder=None if single else output)
    for path in given:
        for source, relative in _expand(path, output, recursive, plan):
            if path.is_dir() and (source.suffix.lower() in unread or (_is_video(source) and not videos)):
                (plan.videos_left_out if _is_video(source) else plan.not_read).append(source)
                continue
            raster = frame is None and _is_raster(source, plan)
            kind = _kept_extension(source, raster) if raster or (extension or frame) is None else extension
            name = output_name(relative, suffix=suffix, extension=kind, full_names=full_names)
            job = Job(source, output if single else output / name, is_raster=raster)
            jobs.setdefault((_resolved(source), job.target), job)
    if not jobs and plan.videos_left_out:
        count = len(plan.videos_left_out)
        raise UsageError(f"no images in {given[0]}, but {count} video{'s' * (count > 1)}; add --videos to restore them")
    if not jobs:
        raise UsageError(f"{given[0]} holds only images of formats that are not read, such as {plan.not_read[0]}")
    plan.jobs.extend(jobs.values())
    film = next((job.source for job in plan.jobs if job.is_video), None) if frame is not None else None
    if film is not None:
        raise UsageError(f"{film} is a video; --frame takes one frame of an animation, or one page")
    _check_distinct(plan.jobs)
    return plan


def checked_extension(suffix: str, extension: str | None) -> str | None:
    """The extension as file names have it; raises :class:`UsageError` for what cannot be a part of an output's name."""
    extension = extension and "." + extension.lower().removeprefix(".")
    known = (*images.FORMATS, *video.CONTAINERS)
    if extension is not None and extension not in known:
        raise UsageError(f"the extension {extension!r} names no format written here ({', '.join(known)})")
    if any(separator in suffix for separator in ("/", os.sep, "\0")):
        raise UsageError(f"the suffix {suffix!r} must be a part of a name; folders are given with -o")
    return extension


def output_name(relative: Path, *, suffix: str = "", extension: str | None = None, full_names: bool = False) -> Path:
    """An output's name for an input's, both within their folders; see :func:`plan_outputs`."""
    stem = relative.name if full_names else relative.stem
    return relative.with_name(stem + suffix + _extension(relative, extension))


def _plan_stdout(given: Sequence[Path], extension: str | None) -> Plan:
    """The plan for one image that goes to standard output."""
    if len(given) != 1 or given[0].is_dir():
        raise UsageError("standard output takes one image; name an output folder for more")
    if _is_video(given[0]) or _is_raster(given[0]):
        what = "video" if _is_video(given[0]) else "raster"
        raise UsageError(f"a {what} cannot be written to standard output; name a file")
    name = "stdout" + _extension(given[0], extension, default=".png")
    return Plan([Job(given[0], Path(name), to_stdout=True)])


def _is_one_file(given: Sequence[Path], output: Path, frame: int | None) -> bool:
    """Whether the output is one file, and not a folder.

    Raises:
        UsageError: it is named like a file, but not like one that can be made of the input.
    """
    try:
        is_folder = output.is_dir()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write to {output}: {reason(error)}") from error
    suffix = output.suffix.lower()
    if is_folder or not any(map(str.isalpha, suffix)):  # holiday-2026.11 is a folder
        return False
    mend = "name a folder, without an extension, or make one of that name first"
    raster = len(given) == 1 and frame is None and _is_raster(given[0])
    if len(given) != 1 or (given[0].is_dir() and not raster):
        what = f"{len(given)} inputs" if len(given) != 1 else "a folder"
        raise UsageError(f"{output} is one file, which {what} cannot be written to; {mend}")
    formats = _RASTERS if raster else tuple(_formats(given[0]))
    if suffix not in formats:
        raise UsageError(f"{output}: {given[0]} cannot be written as {suffix}, but as {', '.join(formats)}; or {mend}")
    return True


def _matches(given: Path) -> list[Path]:
    """The paths a pattern stands for; shells usually do this first."""
    if given == STDIO or os.path.lexists(given):
        return [given]
    # Path.glob takes no absolute patterns.
    found = sorted(glob.glob(str(given), recursive=True)) if glob.has_magic(str(given)) else []  # noqa: PTH207
    if not found:
        raise UsageError(f"no such file or folder: {given}")
    return [Path(path) for path in found]


def _without_outputs(given: list[Path], output: Path) -> list[Path]:
    """Leave out what an earlier run made: when the same command goes on, its patterns match its outputs and books."""
    if len(given) < 2 or output == STDIO:
        return given
    books = output / MANIFEST, output / FAILURES
    made = {_resolved(output), *(_resolved(path) for path in (*outputs_in(output), *books))}
    left = [path for path in given if path == STDIO or _resolved(path) not in made]
    return left or _refuse_outputs(output)


def _refuse_outputs(output: Path) -> list[Path]:
    raise UsageError(f"all inputs are outputs of an earlier run into {output}; choose another output folder")


def _expand(given: Path, output: Path, recursive: bool, plan: Plan) -> list[tuple[Path, Path]]:
    """What is restored of an input, each with its name within the output folder; what is not is noted in the plan."""
    if given == STDIO:
        return [(STDIO, Path("stdin"))]
    if not given.is_dir() or _is_raster(given):
        return [(given, Path(given.name))]
    if given.suffix.lower() == _ZARR:
        raise missing(str(given), "rasterio", "raster")
    # An output folder inside the input folder, or the same one, must not feed on itself.
    folder = _resolved(output)
    inside = folder.is_relative_to(given.resolve()) and folder != given.resolve()
    made = {_resolved(path) for path in outputs_in(output)}
    found = list(walk(given, recursive, folder if inside else None, plan))
    left = [path for path in found if _resolved(path) not in made]
    below = {folder for path in left for folder in path.parents if given in folder.parents}
    earlier = {_resolved(path) for folder in below for path in outputs_in(folder)}
    plan.made_before.extend(path for path in left if _resolved(path) in earlier)
    if not found:
        raise UsageError(f"no images in {given}" + ("" if recursive else " (add -r to search its subfolders)"))
    return [(path, path.relative_to(given)) for path in left or _refuse_outputs(output)]


def walk(folder: Path, recursive: bool, left_out: Path | None, plan: Plan) -> Iterator[Path]:
    """Images, videos and rasters in a folder, sorted.

    That the folder cannot be listed is a :class:`UsageError`; of folders within, it is noted in the plan, as are links
    to folders.
    """

    def note(error: OSError) -> None:
        why = f"cannot list {error.filename}: {error.strerror}"
        if Path(error.filename) == folder:
            raise UsageError(why) from error
        plan.unlisted.append(why)

    for root, folders, names in os.walk(folder, onerror=note):
        here = Path(root)
        stores = [name for name in folders if name.lower().endswith(_ZARR)]
        yield from (here / name for name in sorted(stores))
        folders[:] = [name for name in folders if name not in stores]
        plan.links.extend(here / name for name in sorted(folders) if recursive and (here / name).is_symlink())
        folders[:] = sorted(name for name in folders if recursive and (here / name).resolve() != left_out)
        for name in sorted(names):
            path = here / name
            # A link that leads nowhere is a failure to report; a pipe, a device or a link to one is no image.
            known = path.suffix.lower() in (*images.SUFFIXES, *video.SUFFIXES_IN_FOLDERS, *_NOT_READ)
            known = known and not name.startswith("._")  # what macOS keeps beside a file on other systems' disks
            # Not Path's own: these say no where nothing can be said, as of a link to a name that is too long.
            if known and (os.path.isfile(path) or not os.path.exists(path)):  # noqa: PTH110, PTH113
                yield path


def _kept_extension(path: Path, raster: bool) -> str | None:
    """What a raster's result, or that of a GIF with several frames, is called; None for others, which have a choice."""
    if raster:
        return path.suffix if path.suffix.lower() in _RASTERS else _RASTERS[0]
    # By its content: other GIFs are better off as PNG.
    animated = path.suffix.lower() == ".gif" and path.is_file() and is_animated(path)
    return path.suffix.lower() if animated else None


def _is_raster(path: Path, plan: Plan | None = None) -> bool:
    """Whether an input is restored as a raster; if only a package is missing, that is noted in the plan."""
    found = path != STDIO and is_raster(path)
    if found and installed_version("rasterio") is None:
        if plan is not None:
            plan.without_coordinates.append(path)
        return False
    return found


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in video.SUFFIXES


def _formats(source: Path) -> dict[str, str]:
    return video.CONTAINERS if _is_video(source) else images.FORMATS


def _extension(source: Path, wanted: str | None, default: str = "") -> str:
    if wanted in _formats(source):  # a video's extension says nothing of images, and the other way round
        return wanted
    if default or _is_video(source):
        return default or (source.suffix if source.suffix.lower() in video.CONTAINERS else ".mp4")
    # Lossy input is kept lossless by default: nothing is lost by restoring.
    return source.suffix if source.suffix.lower() in (".png", ".tif", ".tiff", ".webp", ".bmp") else ".png"


def _check_distinct(jobs: Sequence[Job]) -> None:
    """Refuse two inputs of one output, and an output that is an input."""
    seen: dict[Path, Path] = {}
    sources = {_resolved(job.source) for job in jobs}
    for job in jobs:
        target = _resolved(job.target)
        if target in seen:
            raise UsageError(
                f"{seen[target]} and {job.source} would both be written to {job.target}; "
                "--full-names keeps names apart that differ in their extension, folders of their own all others"
            )
        if target in sources:
            raise UsageError(f"{job.target} is an input; choose another output folder or use --suffix")
        seen[target] = job.source


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link to itself, or a name longer than names may be
        return path.absolute()
