"""Which file goes where, settled before the first pixel is read."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msrn import images, video
from msrn.batch.manifest import FAILURES, MANIFEST, outputs_in
from msrn.errors import UsageError
from msrn.system.atomic import reason

_NOT_READ = (
    *(".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".exr", ".hdr", ".svg"),
    *(".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".dds", ".ico", ".j2k", ".jxr", ".qoi"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"),
)
"""Images that somebody may expect to find restored."""

_ALL_MADE = "all inputs are outputs of an earlier run into {}; choose another output folder"

STDIO = Path("-")
"""Standard input or standard output."""


@dataclass(frozen=True)
class Job:
    """One input file and where its result goes."""

    source: Path
    target: Path
    to_stdout: bool = False
    """Then the target only says in which format."""

    @property
    def is_video(self) -> bool:
        """Whether the source's name is a video's."""
        return _is_video(self.source)


@dataclass(frozen=True)
class Plan:
    """All jobs of a run."""

    jobs: tuple[Job, ...]
    folder: Path | None
    """The output folder; None where the output is one file or standard output."""
    links: tuple[Path, ...] = ()
    """Symbolic links to folders, which are not entered."""
    videos_left_out: tuple[Path, ...] = ()
    """Videos in folders, where they were not asked for."""
    not_read: tuple[Path, ...] = ()
    """Images in folders, of formats that are not read."""
    unlisted: tuple[str, ...] = ()
    """Why which folders within the given ones cannot be listed."""
    made_before: tuple[Path, ...] = ()
    """Inputs that earlier runs made, as manifests in folders within the given ones say."""


@dataclass
class _Notes:
    """What a plan says besides its jobs, while it is made."""

    links: list[Path] = field(default_factory=list[Path])
    videos_left_out: list[Path] = field(default_factory=list[Path])
    not_read: list[Path] = field(default_factory=list[Path])
    unlisted: list[str] = field(default_factory=list[str])
    made_before: list[Path] = field(default_factory=list[Path])


def plan_outputs(
    inputs: Sequence[Path],
    output: Path,
    *,
    recursive: bool = False,
    suffix: str = "",
    extension: str | None = None,
    videos: bool = False,
    full_names: bool = False,
) -> Plan:
    """Pair every input image or video with its output path.

    Args:
        inputs: files, folders (the images in them), patterns such as ``album/*.jpg``, or ``-`` for standard input.
        output: a file when one file comes in and the name has a suffix of its kind, ``-`` for standard output of an
            image, otherwise a folder.
        recursive: search folders to any depth, and mirror their tree. Symbolic links to folders are not entered, so
            that none leads out of the tree or in circles; those to files are read like files.
        suffix: added to output names.
        full_names: keep inputs' extensions in output names: ``a.jpg`` becomes ``a.jpg.png``, apart from ``a.png``.
        extension: of output names, images' or videos'. By default lossless formats stay what they are, other images
            become PNG, and videos that cannot be written as they are become MP4.
        videos: take videos from folders, too: one may cost as much as all the images.

    Raises:
        UsageError: an input does not exist, a folder holds no image, two inputs would be written to one output, or
            an output would overwrite an input.
    """
    if extension is not None:
        extension = "." + extension.lower().removeprefix(".")
    _check_names(suffix, extension)
    given = _without_outputs([path for name in inputs for path in _matches(name)], output)
    if output == STDIO:
        return _plan_stdout(given, extension)
    single = _is_one_file(given, output)
    jobs: dict[tuple[Path, Path], Job] = {}  # the same file is restored once, however often it is given
    notes = _Notes()
    for path in given:
        for source, relative in _expand(path, output, recursive, notes):
            if path.is_dir() and (source.suffix.lower() in _NOT_READ or (_is_video(source) and not videos)):
                (notes.videos_left_out if _is_video(source) else notes.not_read).append(source)
                continue
            stem = relative.name if full_names else relative.stem
            name = relative.with_name(stem + suffix + _extension(source, extension))
            job = Job(source, output if single else output / name)
            jobs.setdefault((_resolved(source), job.target), job)
    if not jobs:
        raise _nothing_to_do(given[0], notes)
    _check_distinct([*jobs.values()])
    return Plan(
        tuple(jobs.values()),
        None if single else output,
        tuple(notes.links),
        tuple(notes.videos_left_out),
        tuple(notes.not_read),
        tuple(notes.unlisted),
        tuple(notes.made_before),
    )


def _check_names(suffix: str, extension: str | None) -> None:
    """Refuse what cannot be a part of an output's name."""
    known = (*images.FORMATS, *video.CONTAINERS)
    if extension is not None and extension not in known:
        raise UsageError(f"the extension {extension!r} names no format written here ({', '.join(known)})")
    if any(separator in suffix for separator in ("/", os.sep, "\0")):
        raise UsageError(f"the suffix {suffix!r} must be a part of a name; folders are given with -o")


def _plan_stdout(given: Sequence[Path], extension: str | None) -> Plan:
    """The plan for one image that goes to standard output."""
    if len(given) != 1 or given[0].is_dir():
        raise UsageError("standard output takes one image; name an output folder for more")
    if _is_video(given[0]):
        raise UsageError("a video cannot be written to standard output; name a file")
    name = "stdout" + _extension(given[0], extension, default=".png")
    return Plan((Job(given[0], Path(name), to_stdout=True),), None)


def _is_one_file(given: Sequence[Path], output: Path) -> bool:
    """Whether the output is one file, and not a folder.

    Raises:
        UsageError: it is named like a file, but not like one that can be made of the input.
    """
    if _is_folder(output) or len(given) != 1 or given[0].is_dir():
        return False
    suffix, formats = output.suffix.lower(), _formats(given[0])
    if suffix in formats:
        return True
    if suffix in (*images.FORMATS, *video.SUFFIXES):
        raise UsageError(f"{given[0]} cannot be written as {output.suffix}, but as {', '.join(formats)}")
    if suffix in _NOT_READ:
        raise UsageError(f"{output.suffix} is not written here, but {', '.join(formats)} are")
    return False


def _nothing_to_do(folder: Path, notes: _Notes) -> UsageError:
    if notes.videos_left_out:
        return UsageError(
            f"no images in {folder}, but {len(notes.videos_left_out)} videos; add --videos to restore them"
        )
    return UsageError(f"{folder} holds only images of formats that are not read, such as {notes.not_read[0]}")


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
    if not left:
        raise UsageError(_ALL_MADE.format(output))
    return left


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write to {path}: {reason(error)}") from error


def _expand(given: Path, output: Path, recursive: bool, notes: _Notes) -> list[tuple[Path, Path]]:
    if given == STDIO:
        return [(STDIO, Path("stdin"))]
    if not given.is_dir():
        return [(given, Path(given.name))]
    # An output folder inside the input folder, or the same one, must not feed on itself.
    folder = _resolved(output)
    inside = folder.is_relative_to(given.resolve()) and folder != given.resolve()
    made = {_resolved(path) for path in outputs_in(output)}
    found = list(_walk(given, recursive, folder if inside else None, notes))
    images = [path for path in found if _resolved(path) not in made]
    below = {folder for path in images for folder in path.parents if given in folder.parents}
    earlier = {_resolved(path) for folder in below for path in outputs_in(folder)}
    notes.made_before += [path for path in images if _resolved(path) in earlier]
    if found and not images:
        raise UsageError(_ALL_MADE.format(output))
    if not images:
        raise UsageError(f"no images in {given}" + ("" if recursive else " (add -r to search its subfolders)"))
    return [(path, path.relative_to(given)) for path in images]


def _walk(folder: Path, recursive: bool, left_out: Path | None, notes: _Notes) -> Iterator[Path]:
    """Images in a folder, sorted. That it cannot be listed is an error; of folders within, it is noted."""

    def note(error: OSError) -> None:
        why = f"cannot list {error.filename}: {error.strerror}"
        if Path(error.filename) == folder:
            raise UsageError(why) from error
        notes.unlisted.append(why)

    for root, folders, names in os.walk(folder, onerror=note):
        here = Path(root)
        notes.links += [here / name for name in sorted(folders) if recursive and (here / name).is_symlink()]
        folders[:] = sorted(name for name in folders if recursive and (here / name).resolve() != left_out)
        for name in sorted(names):
            path = here / name
            # A link that leads nowhere is a failure to report; a pipe, a device or a link to one is no image.
            known = path.suffix.lower() in (*images.FORMATS, *video.SUFFIXES_IN_FOLDERS, *_NOT_READ)
            known = known and not name.startswith("._")  # what macOS keeps beside a file on other systems' disks
            # Not Path's own: these say no where nothing can be said, as of a link to a name that is too long.
            if known and (os.path.isfile(path) or not os.path.exists(path)):  # noqa: PTH110, PTH113
                yield path


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
