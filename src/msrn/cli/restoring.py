"""The commands for photographs: restore, upscale, denoise, dejpeg."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from msrn.cli import options
from msrn.cli.batch_report import BatchReport, say_notes, show_forecasts
from msrn.cli.comparison import write_comparison
from msrn.cli.console import Bar, say, show_log
from msrn.cli.options import ADVANCED, FILES, LIMITS, QUALITY, SPEED, at_least
from msrn.errors import ImageError, UsageError
from msrn.restoration.together import check_holds_exactly, check_together
from msrn.system.machine import check_address_space
from msrn.types import Limits, Size, Subsampling, Task

if TYPE_CHECKING:
    from msrn.batch import Plan
    from msrn.restoration.automatic import Chooser
    from msrn.restoration.restorer import Restorer

    Load = Callable[[Mapping[str, str]], Restorer | Chooser]
    """Loads what restores, given the choices that the output folder was begun with."""

_PATIENCE = 1.0
"""Seconds that a run may take at its end to time, for later ones, what else could have computed."""


@Parameter(name="*", group=FILES)
@dataclass(frozen=True, kw_only=True)
class OutputNames:
    """How outputs are called: arguments of ``plan_outputs`` and ``make_manifest``."""

    extension: Annotated[str | None, Parameter(name="--ext")] = None
    """Output format: png, jpg, webp, avif, tif, gif, bmp; mp4, mov, mkv."""
    suffix: str = ""
    """Added to output names, for example _restored."""
    full_names: bool = False
    """Keep extensions in output names: a.jpg becomes a.jpg.png."""


@Parameter(name="*", group=FILES)
@dataclass(frozen=True, kw_only=True)
class NameOptions(OutputNames):
    """What is read and how it is called: arguments of ``plan_outputs``."""

    recursive: Annotated[bool, Parameter(alias="-r")] = False
    """Search folders recursively."""
    videos: bool = False
    """Restore the videos in folders, too."""
    frame: Annotated[int | None, Parameter(name=("--frame", "--page"), validator=at_least(1))] = None
    """Restore only this frame of an animation, or page of a TIFF, from 1."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ComputingOptions:
    """What computes, and what is made of it: arguments of ``Restorer``."""

    strength: Annotated[float, Parameter(group=QUALITY, converter=options.share)] = 1.0
    """Share of the network's changes to apply: 0.7 or 70%."""
    effort: Annotated[int, Parameter(group=SPEED, validator=at_least(0))] = 0
    """Memory blocks to compute, from 1: fewer are faster; 0 = all."""
    tta: options.TTA = False
    device: options.Device = "auto"
    backend: options.Backend = "auto"
    precision: options.NetworkPrecision = "auto"
    tile: options.Tile = 0


@Parameter(name="*", group=QUALITY)
@dataclass(frozen=True, kw_only=True)
class EncodingOptions:
    """How results are stored: fields of a batch's ``Settings``."""

    quality: Annotated[int, Parameter(validator=at_least(1, 100))] = 95
    """Quality of JPEG, WebP and AVIF output, from 1 to 100."""
    subsampling: Subsampling = "4:4:4"
    """Chroma of JPEG and AVIF output."""
    consistent: bool = False
    """Keep results to what their inputs allow, and check it."""
    strip_metadata: Annotated[bool, Parameter(group=ADVANCED)] = False
    """Do not copy EXIF, XMP, IPTC, colour profile, texts and resolution."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Options that the four commands share."""

    names: NameOptions = NameOptions()
    overwrite: options.Overwrite = False
    skip_existing: Annotated[bool, Parameter(group=FILES)] = False
    """Leave existing outputs as they are."""
    dry_run: Annotated[bool, Parameter(group=FILES)] = False
    """Only say what would be written; forecast time and memory."""
    compare: Annotated[Path | None, Parameter(group=FILES)] = None
    """Page that shows the pictures before and after."""
    confidence: Annotated[Path | None, Parameter(group=FILES)] = None
    """Map of where a result may be wrong (a folder for several)."""
    computing: ComputingOptions = ComputingOptions()
    encoding: EncodingOptions = EncodingOptions()
    deadline: Annotated[float, Parameter(group=SPEED, converter=options.seconds, validator=at_least(0))] = 0
    """Seconds for the networks of each picture, such as 2s; 0 = any."""
    jobs: Annotated[int, Parameter(alias="-j", group=SPEED, validator=at_least(1, 64))] = 1
    """Files decoded and files encoded beside the network."""
    limits: Annotated[Limits, Parameter(name="*", group=LIMITS)] = field(default_factory=Limits)
    fail_fast: Annotated[bool, Parameter(group=ADVANCED)] = False
    """Stop at the first image that fails."""
    as_json: options.AsJSON = False
    quiet: options.Quiet = False
    verbose: options.Verbose = False

    def __post_init__(self) -> None:
        check_together(
            effort=self.computing.effort,
            deadline=self.deadline,
            confidence=self.confidence is not None,
            tta=self.computing.tta,
            strength=self.computing.strength,
            dashes="--",
        )
        if self.overwrite and self.skip_existing:
            raise UsageError("give --overwrite or --skip-existing, not both")

    @property
    def for_pictures(self) -> list[str]:
        """What was given that is for pictures alone."""
        given = {"--deadline": self.deadline, "--consistent": self.encoding.consistent, "--confidence": self.confidence}
        return [name for name, value in given.items() if value]


@Parameter(name="*", group=FILES)
@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """How far to enlarge."""

    scale: Annotated[float | None, Parameter(alias="-s", converter=options.factor)] = None
    """Enlarge by this factor, from 1."""
    to: Annotated[str | None, Parameter(metavar="WxH")] = None
    """Enlarge to this size instead; Wx or xH keeps proportions."""

    def __post_init__(self) -> None:
        if self.to is not None and self.scale is not None:
            raise UsageError("give --scale or --to, not both")

    @property
    def exact(self) -> Size | None:
        """``--to`` as ``(height, width)``."""
        if self.to is None:
            return None
        from msrn.images.resize import parse_size

        return parse_size(self.to, "--to")


OUTPUT = Parameter(
    name=("--output", "-o"), group=FILES, help="Output file (for one image) or folder; - for standard output."
)
Output = Annotated[Path, OUTPUT]


def restore(
    *inputs: Annotated[Path, Parameter(name="IN", group=FILES, help=options.INPUTS)],
    output: Annotated[str, OUTPUT],
    size: SizeOptions = SizeOptions(),
    weights: options.SeveralWeights = None,
    common: CommonOptions = CommonOptions(),
    cluster: options.ClusterOptions = options.ClusterOptions(),
) -> None:
    """Find out what each picture needs, restore that, and say why.

    $ msrn restore photo.jpg --output restored.png
    $ msrn restore album --recursive --output restored

    Args:
        weights: Weights instead of their task's own; may be repeated.
    """
    from msrn.restoration.automatic import automatic_loader

    if cluster.manifest is not None:
        from msrn.cli.cluster import restore_manifest

        restore_manifest(inputs, output, size, weights, common, cluster)
        return
    if not inputs:
        raise UsageError("name images or folders to restore (IN), or a --manifest")
    if "://" in output:
        raise UsageError(f"{output}: results go to an object store by a manifest, see msrn manifest --help")
    load = automatic_loader(weights or [], enlarging=size != SizeOptions(), **vars(common.computing))
    _restore(load, "", inputs, Path(output), common, size)


def upscale(
    *inputs: options.Inputs,
    output: Output,
    size: SizeOptions = SizeOptions(),
    weights: options.Weights = "",
    common: CommonOptions = CommonOptions(),
) -> None:
    """Enlarge images by any factor, or to an exact size.

    Artifacts of JPEG files are removed first, unless weights are named. What is
    beyond a factor of 4 is interpolated, which is said for each picture.

    $ msrn upscale photo.jpg --output photo_x2.png --scale 2
    $ msrn upscale album --output wide --to 1920x
    """
    from msrn.restoration.automatic import Enlarging

    def load(begun_with: Mapping[str, str]) -> Enlarging:
        return Enlarging(lambda task: _restorer(task, common, task, begun_with))

    note = "each side is doubled; --scale or --to sets another size" if size == SizeOptions() else ""
    if weights:
        _restore(_loader("sr", common, weights), "enlarged", inputs, output, common, size, note)
    else:  # what is done differs between pictures, and each one's note says it
        _restore(load, "", inputs, output, common, size, note)


def denoise(
    *inputs: options.Inputs,
    output: Output,
    weights: options.Weights = "denoise",
    common: CommonOptions = CommonOptions(),
) -> None:
    """Remove noise; the level is judged from the image.

    $ msrn denoise photo.png --output clean.png
    $ msrn denoise album --recursive --output clean --strength 70%
    """
    _restore(_loader("denoise", common, weights), "noise removed", inputs, output, common)


def dejpeg(
    *inputs: options.Inputs, output: Output, weights: options.Weights = "jpeg", common: CommonOptions = CommonOptions()
) -> None:
    """Remove JPEG artifacts; the quality is judged from the image.

    $ msrn dejpeg photo.jpg --output clean.png
    $ msrn dejpeg album --recursive --output clean --ext webp
    """
    _restore(_loader("jpeg", common, weights), "JPEG artifacts removed", inputs, output, common)


def _restore(
    load: "Load",
    done: str,
    inputs: Sequence[Path],
    output: Path,
    common: CommonOptions,
    size: SizeOptions = SizeOptions(),
    note: str = "",
) -> None:
    """What all four share: plan, claim the output, load, restore, report; ``done`` says what is done to all alike."""
    from msrn.batch import Settings, check_pictures_only, claim, forecast_batch, restore_files, with_maps
    from msrn.images.isolated import Decoder

    show_log(common.verbose, common.quiet)
    check_address_space()
    plan, limits = _plan(inputs, output, common), common.limits
    check_pictures_only(plan.jobs, common.for_pictures)
    if common.confidence is not None:
        plan = with_maps(plan, common.confidence, overwrite=common.overwrite)
    if common.encoding.consistent:
        for job in plan.jobs:
            check_holds_exactly(job.target, common.encoding.quality, "--")
    if note and not common.quiet:
        say(f"msrn: note: {note}")
    stored, mapped = vars(common.encoding), common.confidence is not None
    settings = Settings(size.scale, size.exact, **stored, confidence=mapped, frame=common.names.frame)
    if common.dry_run:
        show_forecasts(forecast_batch(plan.jobs, load({}), settings, limits), common.as_json, bool(plan.unlisted))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    measured = common.as_json or settings.consistent
    decoding = Decoder(limits.max_pixels, limits.max_seconds, coefficients=measured)
    with claim(plan) as claimed, closing(decoding) as decoder:
        if any(job.is_picture for job in plan.jobs):
            decoder.start()  # while the weights are loaded
        restorer = load(claimed.begun_with)
        with Bar(common.quiet) as bar, BatchReport(plan, bar, done, common.quiet, common.as_json) as report:
            restore_files(
                plan.jobs,
                claimed,
                restorer,
                settings,
                limits=limits,
                decoder=decoder,
                existing="overwrite" if common.overwrite else "skip" if common.skip_existing else "refuse",
                fail_fast=common.fail_fast,
                workers=common.jobs,
                measured=measured,
                deadline=common.deadline,
                progress=report.advance,
                done=report.done,
            )
    if common.compare is not None:
        write_comparison(common.compare, report.outcomes)
    report.sum_up(claimed.failures)
    if plan.unlisted:
        raise SystemExit(ImageError.exit_code)
    with suppress(KeyboardInterrupt):  # all results are written
        restorer.learn(_PATIENCE)


def _plan(inputs: Sequence[Path], output: Path, common: CommonOptions) -> "Plan":
    """What is read and written, with what there is to say about it."""
    from msrn.batch import plan_outputs

    plan = plan_outputs(inputs, output, **vars(common.names))
    if any(job.to_stdout for job in plan.jobs) and (common.as_json or sys.stdout.isatty()):
        raise UsageError("-o - writes the image to standard output: redirect it, and leave --json out")
    if not common.quiet:
        say_notes(plan)
    for why in plan.unlisted:
        say(f"msrn: error: {why}")
    return plan


def _loader(task: Task, common: CommonOptions, weights: str) -> "Callable[[Mapping[str, str]], Restorer]":
    def load(begun_with: Mapping[str, str]) -> "Restorer":
        restorer = _restorer(task, common, weights, begun_with)
        if common.verbose:
            say(f"msrn: {restorer}")
        return restorer

    return load


def _restorer(task: Task, common: CommonOptions, weights: str, begun_with: Mapping[str, str]) -> "Restorer":
    from msrn.restoration.restorer import Restorer

    restorer = Restorer(weights, **vars(common.computing), begun_with=begun_with)
    restorer.check_task(task)
    return restorer
