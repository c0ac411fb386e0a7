"""The commands for photographs: restore, upscale, denoise, dejpeg."""

import inspect
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msrn.cli import options as given
from msrn.cli.console import Bar, printable, say, show_log
from msrn.errors import ImageError, MSRNError, UsageError

if TYPE_CHECKING:
    from msrn.batch import Job, JobForecast, Outcome, Plan
    from msrn.restoration.automatic import Automatic
    from msrn.restoration.restorer import Restorer
    from msrn.types import Size, Task


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options that the four commands share."""

    inputs: given.Inputs
    output: given.Output
    tile: given.Tile = 0
    device: given.Device = "auto"
    backend: given.BackendOption = "auto"
    precision: given.PrecisionOption = "auto"
    tta: given.TTA = False
    strength: given.Strength = 1.0
    recursive: given.Recursive = False
    videos: given.Videos = False
    jobs: given.Jobs = 1
    suffix: given.Suffix = ""
    full_names: given.FullNames = False
    ext: given.Extension = None
    quality: given.Quality = 95
    subsampling: given.Subsampling = "4:4:4"
    overwrite: given.Overwrite = False
    skip_existing: given.SkipExisting = False
    dry_run: given.DryRun = False
    fail_fast: given.FailFast = False
    strip_metadata: given.Strip = False
    max_pixels: given.MaxPixels = 500_000_000
    max_bytes: given.MaxBytes = 4 << 30
    max_frames: given.MaxFrames = 1_000_000
    max_seconds: given.MaxSeconds = 120.0
    as_json: given.AsJSON = False
    quiet: given.Quiet = False
    verbose: given.Verbose = False


def _photographs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :class:`Common`, which it takes as its first argument."""
    own = list(inspect.signature(command).parameters.values())[1:]
    names = [parameter.name for parameter in own]

    def wrapped(**values: Any) -> None:
        mine = {name: values.pop(name) for name in names}
        command(Common(**values), **mine)

    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=field.type,
            default=inspect.Parameter.empty if field.name in ("inputs", "output") else field.default,
        )
        for field in fields(Common)
    ]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    vars(wrapped)["__signature__"] = inspect.Signature([*shared[:2], *own, *shared[2:]])
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in (*shared, *own)}
    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    return wrapped


Scale = Annotated[float | None, typer.Option("--scale", "-s", help="Enlarge by this factor, from 1.")]
To = Annotated[
    str | None, typer.Option("--to", metavar="WxH", help="Enlarge to this size instead; Wx or xH keeps proportions.")
]


@_photographs
def restore(
    common: Common,
    scale: Scale = None,
    to: To = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights", "-w", help="Weights instead of their task's own; may be repeated.", show_default=False
        ),
    ] = None,
) -> None:
    """Find out what each picture needs, restore that, and say why."""
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

    _restore(load, common, scale, size)


@_photographs
def upscale(common: Common, scale: Scale = None, to: To = None, weights: given.WeightsName = "sr") -> None:
    """Enlarge images by any factor from 1 to 4, or to an exact size."""
    _restore(_loader("sr", common, weights), common, scale, _checked(common, scale, to))


@_photographs
def denoise(common: Common, weights: given.WeightsName = "denoise") -> None:
    """Remove noise; the level is judged from the image."""
    _restore(_loader("denoise", common, weights), common)


@_photographs
def dejpeg(common: Common, weights: given.WeightsName = "jpeg") -> None:
    """Remove JPEG artifacts; the quality is judged from the image."""
    _restore(_loader("jpeg", common, weights), common)


def _restore(
    load: "Callable[[Mapping[str, str]], Restorer | Automatic]",
    common: Common,
    scale: float | None = None,
    size: "Size | None" = None,
) -> None:
    """What all four share: plan, claim the output, load, restore, report."""
    from msrn.batch import Limits, Settings, claim, forecast_batch, plan_outputs, restore_files
    from msrn.images.isolated import Decoder

    show_log(common.verbose, common.quiet)
    if common.overwrite and common.skip_existing:
        raise UsageError("give --overwrite or --skip-existing, not both")
    plan = plan_outputs(
        common.inputs,
        common.output,
        recursive=common.recursive,
        suffix=common.suffix,
        extension=common.ext,
        videos=common.videos,
        full_names=common.full_names,
    )
    if any(job.to_stdout for job in plan.jobs) and (common.as_json or sys.stdout.isatty()):
        raise UsageError("-o - writes the image to standard output: redirect it, and leave --json out")
    limits = Limits(common.max_pixels, common.max_bytes, common.max_seconds, common.max_frames)
    settings = Settings(scale, size, common.quality, common.subsampling, common.strip_metadata)
    if not common.quiet:
        _say_notes(plan)
    for why in plan.unlisted:
        say(f"msrn: error: {why}")
    if common.dry_run:
        _foresee(forecast_batch(plan.jobs, load({}), settings, limits), common.as_json, bool(plan.unlisted))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    with claim(plan) as output, closing(Decoder(limits.pixels, limits.seconds)) as decoder:
        if not all(job.is_video for job in plan.jobs):
            decoder.start()  # while the weights are loaded
        restorer = load(output.begun_with)
        with Bar(common.quiet) as bar:
            report = Report(plan, bar, common.quiet)
            try:
                outcomes = restore_files(
                    plan.jobs,
                    output,
                    restorer,
                    settings,
                    limits=limits,
                    decoder=decoder,
                    existing="overwrite" if common.overwrite else "skip" if common.skip_existing else "refuse",
                    fail_fast=common.fail_fast,
                    workers=common.jobs,
                    progress=report.advance,
                    done=report.done,
                )
            except KeyboardInterrupt:
                if plan.folder is not None or any(job.is_video for job in plan.jobs):
                    bar.say("msrn: interrupted; the same command goes on where this one was stopped")
                raise
            except MSRNError as error:
                if error is not report.last_error:
                    raise
                if common.as_json:
                    typer.echo(_table(report.outcomes))
                if len(plan.jobs) > 1:
                    bar.say(f"{report.summary()}; stopped, the same command goes on from here")
                raise typer.Exit(error.exit_code) from error
    if common.as_json:
        typer.echo(_table(outcomes))
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(plan.jobs) > 1 and (failed or not common.quiet):
        say(report.summary())
        if failed and output.failures is not None:
            say(f"msrn: {len(failed)} of {len(outcomes)} images failed, see {output.failures}")
    if failed:
        raise typer.Exit(_exit_code(failed, len(outcomes)))
    if plan.unlisted:
        raise typer.Exit(ImageError.exit_code)


def _say_notes(plan: "Plan") -> None:
    if plan.links:
        say(f"msrn: note: {len(plan.links)} links to folders are not entered, such as {plan.links[-1]}")
    if plan.videos_left_out:
        say(f"msrn: note: {len(plan.videos_left_out)} videos in folders are left out; --videos restores them too")
    if plan.made_before:
        say(f"msrn: note: {len(plan.made_before)} inputs are outputs of earlier runs, such as {plan.made_before[0]}")
    if plan.not_read:
        kinds = ", ".join(sorted({path.suffix.lower() for path in plan.not_read}))
        say(f"msrn: note: {len(plan.not_read)} images of formats that are not read are left out ({kinds})")


def _foresee(forecasts: "Iterable[JobForecast]", as_json: bool, failed: bool) -> None:
    """What ``--dry-run`` prints, each file as soon as it was looked at."""
    total, most = 0.0, 0
    rows: list[dict[str, Any]] = []
    errors: list[MSRNError] = []
    for expected in forecasts:
        job, note, error = expected.job, expected.note, expected.error
        what = {"input": str(job.source), "output": str(job.target), "note": note}
        rows.append({**what, "seconds": expected.seconds, "bytes": expected.bytes, "error": error and str(error)})
        if error is not None:
            errors.append(error)
            say(f"msrn: error: {error}")
        elif not as_json:
            typer.echo(printable(f"{job.source} -> {job.target}" + (f"  ({note})" if note else "")))
        total, most = total + expected.seconds, max(most, expected.bytes)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    say(f"msrn: about {total:.1f} s and {most / 2**30:.2f} GiB at most on this machine")
    if errors or failed:
        raise typer.Exit(_exit_code(errors, len(rows)))


def _exit_code(errors: "Sequence[MSRNError]", count: int) -> int:
    """One file with one reason keeps that reason's code; a batch says that some images failed."""
    return errors[0].exit_code if count == 1 and errors else ImageError.exit_code


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


def _loader(task: "Task", common: Common, weights: str) -> "Callable[[Mapping[str, str]], Restorer]":
    def load(begun_with: Mapping[str, str]) -> "Restorer":
        restorer = _restorer(task, common, weights, begun_with)
        if common.verbose:
            say(f"msrn: {restorer}")
        return restorer

    return load


def _restorer(
    task: "Task", common: Common, weights: str, begun_with: Mapping[str, str], for_color: str | None = None
) -> "Restorer":
    from msrn.restoration.restorer import Restorer

    restorer = Restorer(
        weights,
        device=common.device,
        backend=common.backend,
        precision=common.precision,
        tile=common.tile,
        tta=common.tta,
        strength=common.strength,
        for_color=for_color,
        begun_with=begun_with,
    )
    if restorer.weights.card.task != task:
        raise UsageError(f"weights {weights!r} are for {restorer.weights.card.task!r}, not for {task!r}")
    return restorer


class Report:
    """Tells how far a batch is: images and megapixels a second, what failed."""

    def __init__(self, plan: "Plan", bar: Bar, quiet: bool) -> None:
        self._files = len(plan.jobs)
        self._bar, self._quiet = bar, quiet
        self._started = time.perf_counter()
        self._made = self._skipped = self._failed = self._pixels = 0
        self._shown = 0.0
        self.last_error: MSRNError | None = None
        self.outcomes: list[Outcome] = []

    def advance(self, job: "Job", share: float) -> None:
        """Show the file at hand and the speed so far."""
        self._show(job.source.name, share)

    def done(self, outcome: "Outcome") -> None:
        """Count what became of a file, and say it."""
        self.outcomes.append(outcome)
        self._failed += outcome.error is not None
        self._made += not (outcome.skipped or outcome.error)
        self._skipped += bool(outcome.skipped)
        self._pixels += outcome.pixels
        self._show(outcome.job.source.name, 0)
        if outcome.error is not None:
            self.last_error = outcome.error
            self._bar.say(f"msrn: error: {outcome.error}")
        elif not self._quiet and not outcome.job.to_stdout:
            note = f" {outcome.skipped}, skipped" if outcome.skipped else f"  ({outcome.note})" if outcome.note else ""
            self._bar.say(f"{outcome.job.target}{note}")

    def _show(self, name: str, share: float) -> None:
        ended = self._made + self._skipped + self._failed
        # Several may be at hand, each with a share of its own.
        self._shown = max(self._shown, (ended + share) / self._files)
        parts = [name] if self._files == 1 else [name, f"{ended} of {self._files}"]
        parts += [self._speed()] if self._made else []  # of nothing there is none
        self._bar.show("  ".join([*parts, f"{self._failed} failed"] if self._failed else parts), self._shown)

    def summary(self) -> str:
        """One line for the end."""
        counts = f"{self._made} restored, {self._skipped} skipped, {self._failed} failed"
        return f"msrn: {counts} in {time.perf_counter() - self._started:.1f} s ({self._speed()})"

    def _speed(self) -> str:
        seconds = max(time.perf_counter() - self._started, 1e-9)
        return f"{self._made / seconds:.2f} images/s, {self._pixels / seconds / 1e6:.2f} MP/s"


def _table(outcomes: "Sequence[Outcome]") -> str:
    return json.dumps([_row(outcome) for outcome in outcomes], indent=2)


def _row(outcome: "Outcome") -> dict[str, Any]:
    return {
        "input": str(outcome.job.source),
        "output": None if outcome.error else str(outcome.job.target),
        "skipped": bool(outcome.skipped),
        "note": outcome.note,
        "error": str(outcome.error) if outcome.error else None,
    }


def _checked(common: Common, scale: float | None, to: str | None) -> "Size | None":
    """Check the options of enlarging; returns the size, if one was given."""
    if to is not None and scale is not None:
        raise UsageError("give --scale or --to, not both")
    if scale is not None and not 1 <= scale < float("inf"):
        raise UsageError(f"--scale must be a number of at least 1, got {scale:g}")
    if scale is not None and scale > 4 and not common.quiet:
        say(f"msrn: note: the weights are trained for factors up to 4, not {scale:g}")
    return None if to is None else _parse_size(to)


def _parse_size(text: str) -> "Size":
    match = re.fullmatch(r"([1-9]\d*)?[xX×]([1-9]\d*)?", text)
    if match is None or not (match[1] or match[2]):
        raise UsageError(f"--to takes WIDTHxHEIGHT, WIDTHx or xHEIGHT, for example 1920x1080 or 1920x, got {text!r}")
    return int(match[2]) if match[2] else None, int(match[1]) if match[1] else None
