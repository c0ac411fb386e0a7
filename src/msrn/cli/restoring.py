"""The commands for photographs: restore, upscale, denoise, dejpeg."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from msrn.cli import options
from msrn.cli.batch_report import BatchReport, exit_code, say_notes, show_forecasts, table
from msrn.cli.console import Bar, print_data, say, show_log
from msrn.cli.options import ADVANCED, FILES, LIMITS, QUALITY, SPEED, at_least
from msrn.errors import ImageError, MSRNError, UsageError
from msrn.system.machine import check_address_space
from msrn.types import MAX_BYTES, MAX_FRAMES, MAX_PIXELS, MAX_SECONDS, Size, Subsampling, Task

if TYPE_CHECKING:
    from msrn.batch import ClaimedOutput, Existing, Limits, Outcome, Plan, Settings
    from msrn.images.isolated import Decoder
    from msrn.restoration.automatic import Automatic
    from msrn.restoration.restorer import Restorer

    Load = Callable[[Mapping[str, str]], Restorer | Automatic]
    """Loads what restores, given the choices that the output folder was begun with."""


@Parameter(name="*", group=FILES)
@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Options on what is read and written."""

    recursive: Annotated[bool, Parameter(alias="-r")] = False
    """Search folders recursively."""
    videos: bool = False
    """Restore the videos in folders, too."""
    ext: str | None = None
    """Output format: png, jpg, webp, tif, bmp; mp4, mov, mkv."""
    suffix: str = ""
    """Added to output names, for example _restored."""
    full_names: bool = False
    """Keep extensions in output names: a.jpg becomes a.jpg.png."""
    overwrite: options.Overwrite = False
    skip_existing: bool = False
    """Leave existing outputs as they are."""
    dry_run: bool = False
    """Only say what would be written; forecast time and memory."""

    @property
    def existing(self) -> "Existing":
        """What becomes of outputs that exist.

        Raises:
            UsageError: for two answers.
        """
        if self.overwrite and self.skip_existing:
            raise UsageError("give --overwrite or --skip-existing, not both")
        return "overwrite" if self.overwrite else "skip" if self.skip_existing else "refuse"


@Parameter(name="*", group=QUALITY)
@dataclass(frozen=True, kw_only=True)
class QualityOptions:
    """Options on how the result looks."""

    strength: Annotated[float, Parameter(validator=at_least(0, 1))] = 1.0
    """Share of the network's changes to apply, from 0 to 1."""
    tta: options.TTA = False
    quality: Annotated[int, Parameter(validator=at_least(1, 100))] = 95
    """Quality of JPEG and WebP output, from 1 to 100."""
    subsampling: Subsampling = "4:4:4"
    """Chroma of JPEG output."""


@Parameter(name="*", group=SPEED)
@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """Options on what computes, and how."""

    device: options.Device = "auto"
    backend: options.Backend = "auto"
    precision: options.NetworkPrecision = "auto"
    jobs: Annotated[int, Parameter(alias="-j", validator=at_least(1, 64))] = 1
    """Files decoded and files encoded beside the network."""
    tile: options.Tile = 0


@Parameter(name="*", group=LIMITS)
@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """Options on what is refused."""

    max_pixels: Annotated[int, Parameter(validator=at_least(1))] = MAX_PIXELS
    """Refuse larger images."""
    max_bytes: Annotated[int, Parameter(validator=at_least(1))] = MAX_BYTES
    """Refuse larger files."""
    max_frames: Annotated[int, Parameter(validator=at_least(1))] = MAX_FRAMES
    """Refuse longer videos."""
    max_seconds: Annotated[float, Parameter(validator=at_least(0.1))] = MAX_SECONDS
    """Give a file of a batch up that takes longer to decode."""

    def of_batch(self) -> "Limits":
        """The same, as a batch takes them."""
        from msrn.batch import Limits

        return Limits(self.max_pixels, self.max_bytes, self.max_seconds, self.max_frames)


@Parameter(name="*", group=ADVANCED)
@dataclass(frozen=True, kw_only=True)
class AdvancedOptions:
    """Options on what is copied and said."""

    fail_fast: bool = False
    """Stop at the first image that fails."""
    strip_metadata: bool = False
    """Do not copy EXIF, XMP, IPTC, colour profile, texts and resolution."""
    as_json: options.AsJSON = False
    quiet: options.Quiet = False
    verbose: options.Verbose = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Options that the four commands share."""

    files: FileOptions = FileOptions()
    quality: QualityOptions = QualityOptions()
    speed: SpeedOptions = SpeedOptions()
    limits: LimitOptions = LimitOptions()
    advanced: AdvancedOptions = AdvancedOptions()


_PATIENCE = 1.0
"""Seconds that a run may take at its end to time, for later ones, what else could have computed."""
Output = Annotated[
    Path,
    Parameter(
        name=("--output", "-o"), group=FILES, help="Output file (for one image) or folder; - for standard output."
    ),
]
Scale = Annotated[float | None, Parameter(name=("--scale", "-s"), group=FILES, help="Enlarge by this factor, from 1.")]
To = Annotated[
    str | None,
    Parameter(group=FILES, metavar="WxH", help="Enlarge to this size instead; Wx or xH keeps proportions."),
]


def restore(
    *inputs: options.Inputs,
    output: Output,
    scale: Scale = None,
    to: To = None,
    weights: options.SeveralWeights = None,
    common: CommonOptions = CommonOptions(),
) -> None:
    """Find out what each picture needs, restore that, and say why.

    $ msrn restore photo.jpg -o restored.png
    $ msrn restore album -r -o restored

    Args:
        weights: Weights instead of their task's own; may be repeated.
    """
    from msrn.restoration.automatic import Automatic

    size = _checked(common, scale, to)
    enlarging = scale is not None or size is not None
    names = _by_kind(weights or [])
    if "sr" in names and not enlarging:
        raise UsageError(f"{names['sr']} enlarges: give --scale or --to as well")
    tasks: list[Task] = ["jpeg", "denoise", "sr"] if enlarging else ["jpeg", "denoise"]

    def load(begun_with: Mapping[str, str]) -> Automatic:
        made = {
            task: _restorer(task, common, names.get(task, task), begun_with, _of_color(task, names)) for task in tasks
        }
        return Automatic(made.__getitem__, enlarging=enlarging)

    _restore(load, inputs, output, common, scale, size)


def upscale(
    *inputs: options.Inputs,
    output: Output,
    scale: Scale = None,
    to: To = None,
    weights: options.Weights = "sr",
    common: CommonOptions = CommonOptions(),
) -> None:
    """Enlarge images by any factor from 1 to 4, or to an exact size.

    $ msrn upscale photo.jpg -o photo_x2.png --scale 2
    $ msrn upscale album -o wide --to 1920x
    """
    _restore(_loader("sr", common, weights), inputs, output, common, scale, _checked(common, scale, to))


def denoise(
    *inputs: options.Inputs,
    output: Output,
    weights: options.Weights = "denoise",
    common: CommonOptions = CommonOptions(),
) -> None:
    """Remove noise; the level is judged from the image.

    $ msrn denoise photo.png -o clean.png
    $ msrn denoise album -r -o clean --strength 0.7
    """
    _restore(_loader("denoise", common, weights), inputs, output, common)


def dejpeg(
    *inputs: options.Inputs, output: Output, weights: options.Weights = "jpeg", common: CommonOptions = CommonOptions()
) -> None:
    """Remove JPEG artifacts; the quality is judged from the image.

    $ msrn dejpeg photo.jpg -o clean.png
    $ msrn dejpeg album -r -o clean --ext webp
    """
    _restore(_loader("jpeg", common, weights), inputs, output, common)


def _restore(
    load: "Load",
    inputs: Sequence[Path],
    output: Path,
    common: CommonOptions,
    scale: float | None = None,
    size: Size | None = None,
) -> None:
    """What all four share: plan, claim the output, load, restore, report."""
    from msrn.batch import Settings, claim, forecast_batch
    from msrn.images.isolated import Decoder

    show_log(common.advanced.verbose, common.advanced.quiet)
    check_address_space()
    existing = common.files.existing
    plan = _plan(inputs, output, common)
    settings = Settings(scale, size, common.quality.quality, common.quality.subsampling, common.advanced.strip_metadata)
    limits = common.limits.of_batch()
    if common.files.dry_run:
        forecasts = forecast_batch(plan.jobs, load({}), settings, limits)
        show_forecasts(forecasts, common.advanced.as_json, bool(plan.unlisted))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    with claim(plan) as claimed, closing(Decoder(limits.pixels, limits.seconds)) as decoder:
        if not all(job.is_video for job in plan.jobs):
            decoder.start()  # while the weights are loaded
        restorer = load(claimed.begun_with)
        with Bar(common.advanced.quiet) as bar:
            report = BatchReport(plan, bar, common.advanced.quiet)
            outcomes = _work(plan, claimed, decoder, restorer, settings, existing, common, report)
    if common.advanced.as_json:
        print_data(table(outcomes))
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(plan.jobs) > 1 and (failed or not common.advanced.quiet):
        say(report.summary())
        if failed and claimed.failures is not None:
            say(f"msrn: {len(failed)} of {len(outcomes)} images failed, see {claimed.failures}")
    if failed:
        raise SystemExit(exit_code(failed, len(outcomes)))
    if plan.unlisted:
        raise SystemExit(ImageError.exit_code)
    with suppress(KeyboardInterrupt):  # all results are written
        restorer.learn(_PATIENCE)


def _plan(inputs: Sequence[Path], output: Path, common: CommonOptions) -> "Plan":
    """What is read and written, with what there is to say about it."""
    from msrn.batch import plan_outputs

    plan = plan_outputs(
        inputs,
        output,
        recursive=common.files.recursive,
        suffix=common.files.suffix,
        extension=common.files.ext,
        videos=common.files.videos,
        full_names=common.files.full_names,
    )
    if any(job.to_stdout for job in plan.jobs) and (common.advanced.as_json or sys.stdout.isatty()):
        raise UsageError("-o - writes the image to standard output: redirect it, and leave --json out")
    if not common.advanced.quiet:
        say_notes(plan)
    for why in plan.unlisted:
        say(f"msrn: error: {why}")
    return plan


def _work(
    plan: "Plan",
    claimed: "ClaimedOutput",
    decoder: "Decoder",
    restorer: "Restorer | Automatic",
    settings: "Settings",
    existing: "Existing",
    common: CommonOptions,
    report: BatchReport,
) -> "list[Outcome]":
    """Restore all files, and say how to go on where that is stopped."""
    from msrn.batch import restore_files

    try:
        return restore_files(
            plan.jobs,
            claimed,
            restorer,
            settings,
            limits=common.limits.of_batch(),
            decoder=decoder,
            existing=existing,
            fail_fast=common.advanced.fail_fast,
            workers=common.speed.jobs,
            progress=report.advance,
            done=report.done,
        )
    except KeyboardInterrupt as interruption:
        if plan.folder is None and not any(job.is_video for job in plan.jobs):
            raise
        report.bar.say("msrn: interrupted; the same command goes on where this one was stopped")
        raise SystemExit(130) from interruption
    except MSRNError as error:
        if error is not report.last_error:
            raise
        if common.advanced.as_json:
            print_data(table(report.outcomes))
        if len(plan.jobs) > 1:
            report.bar.say(f"{report.summary()}; stopped, the same command goes on from here")
        raise SystemExit(error.exit_code) from error


def _by_kind(names: Sequence[str]) -> dict[str, str]:
    """Which weights are for which task; those for colours for ``TASK-color``."""
    from msrn.network.weights import load

    chosen: dict[str, str] = {}
    for name in names:
        card = load(name).card
        kind = f"{card.task}-color" if card.config.in_channels == 3 else card.task
        if kind in chosen:
            raise UsageError(f"{chosen[kind]} and {name} are both for {kind!r}: give one of them")
        chosen[kind] = name
    return chosen


def _of_color(task: str, names: Mapping[str, str]) -> str | None:
    """The weights for pictures with colours: those named, otherwise the task's own, whatever is named for planes."""
    from msrn.network.catalogue import find

    return names.get(f"{task}-color") or (f"{task}-color" if find(f"{task}-color") else None)


def _loader(task: Task, common: CommonOptions, weights: str) -> "Callable[[Mapping[str, str]], Restorer]":
    def load(begun_with: Mapping[str, str]) -> "Restorer":
        restorer = _restorer(task, common, weights, begun_with)
        if common.advanced.verbose:
            say(f"msrn: {restorer}")
        return restorer

    return load


def _restorer(
    task: Task, common: CommonOptions, weights: str, begun_with: Mapping[str, str], for_color: str | None = None
) -> "Restorer":
    from msrn.restoration.restorer import Restorer

    restorer = Restorer(
        weights,
        device=common.speed.device,
        backend=common.speed.backend,
        precision=common.speed.precision,
        tile=common.speed.tile,
        tta=common.quality.tta,
        strength=common.quality.strength,
        for_color=for_color,
        begun_with=begun_with,
    )
    if restorer.weights.card.task != task:
        raise UsageError(f"weights {weights!r} are for {restorer.weights.card.task!r}, not for {task!r}")
    return restorer


def _checked(common: CommonOptions, scale: float | None, to: str | None) -> Size | None:
    """Check the options of enlarging; returns the size, if one was given."""
    if to is not None and scale is not None:
        raise UsageError("give --scale or --to, not both")
    if scale is not None and not 1 <= scale < float("inf"):
        raise UsageError(f"--scale must be a number of at least 1, got {scale:g}")
    if scale is not None and scale > 4 and not common.advanced.quiet:
        say(f"msrn: note: the weights are trained for factors up to 4, not {scale:g}")
    if to is None:
        return None
    from msrn.images.resize import parse_size

    return parse_size(to, "--to")
