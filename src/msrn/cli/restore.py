"""The commands for photographs: upscale, denoise, dejpeg."""

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msrn.cli.options import (
    TTA,
    AsJSON,
    Device,
    DryRun,
    Extension,
    FailFast,
    Inputs,
    Output,
    Overwrite,
    PrecisionOption,
    Quality,
    Quiet,
    Recursive,
    SkipExisting,
    Strip,
    Suffix,
    Tile,
    Verbose,
    WeightsName,
)
from msrn.console import Bar, say
from msrn.errors import ImageError, UsageError

if TYPE_CHECKING:
    from msrn.batch import Job, Outcome


def upscale(
    inputs: Inputs,
    output: Output,
    scale: Annotated[float | None, typer.Option("--scale", "-s", help="Any factor from 1; 2 by default.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="WxH", help="Exact output size instead.")] = None,
    weights: WeightsName = "sr",
    tile: Tile = 0,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    tta: TTA = False,
    recursive: Recursive = False,
    suffix: Suffix = "",
    ext: Extension = None,
    quality: Quality = 95,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    fail_fast: FailFast = False,
    strip_metadata: Strip = False,
    as_json: AsJSON = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Enlarge images by any factor from 1 to 4, or to an exact size."""
    size = None if to is None else _parse_size(to)
    if size is not None and scale is not None:
        raise UsageError("give --scale or --to, not both")
    if scale is not None and not 1 <= scale < float("inf"):
        raise UsageError(f"--scale must be a number of at least 1, got {scale:g}")
    if scale is not None and scale > 4 and not quiet:
        say(f"msrn: note: the weights are trained for factors up to 4, not {scale:g}")
    _restore("sr", locals() | {"size": size})


def denoise(
    inputs: Inputs,
    output: Output,
    weights: WeightsName = "denoise",
    tile: Tile = 0,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    tta: TTA = False,
    recursive: Recursive = False,
    suffix: Suffix = "",
    ext: Extension = None,
    quality: Quality = 95,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    fail_fast: FailFast = False,
    strip_metadata: Strip = False,
    as_json: AsJSON = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Remove noise; the level is judged from the image itself."""
    _restore("denoise", locals())


def dejpeg(
    inputs: Inputs,
    output: Output,
    weights: WeightsName = "jpeg",
    tile: Tile = 0,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    tta: TTA = False,
    recursive: Recursive = False,
    suffix: Suffix = "",
    ext: Extension = None,
    quality: Quality = 95,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    fail_fast: FailFast = False,
    strip_metadata: Strip = False,
    as_json: AsJSON = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Remove JPEG blocks and ringing; the quality is judged from the image itself."""
    _restore("jpeg", locals())


def _restore(task: str, options: dict[str, Any]) -> None:
    """What upscale, denoise and dejpeg share: plan, load, restore, report."""
    from msrn.batch import plan_outputs, restore_files

    if options["overwrite"] and options["skip_existing"]:
        raise UsageError("give --overwrite or --skip-existing, not both")
    jobs = plan_outputs(
        options["inputs"],
        options["output"],
        recursive=options["recursive"],
        suffix=options["suffix"],
        extension=options["ext"],
    )
    if options["dry_run"]:
        typer.echo("\n".join(f"{job.source} -> {job.target}" for job in jobs))
        return

    from msrn.engine import Restorer

    restorer = Restorer(
        options["weights"],
        device=options["device"],
        precision=options["precision"],
        tile=options["tile"],
        tta=options["tta"],
    )
    if restorer.weights.card.task != task:
        raise UsageError(f"weights {options['weights']!r} are for {restorer.weights.card.task!r}, not for {task!r}")
    if options["verbose"]:
        say(f"msrn: {restorer}")
    existing = "overwrite" if options["overwrite"] else "skip" if options["skip_existing"] else "refuse"
    order = {id(job): index for index, job in enumerate(jobs)}
    with Bar(options["quiet"]) as bar:

        def advance(job: "Job", share: float) -> None:
            bar.show(job.source.name, (order[id(job)] + share) / len(jobs))

        def done(outcome: "Outcome") -> None:
            if outcome.error is not None:
                bar.say(f"msrn: error: {outcome.error}")
            elif not options["quiet"]:
                bar.say(f"{outcome.job.target}" + (" exists, skipped" if outcome.skipped else ""))

        outcomes = restore_files(
            jobs,
            restorer,
            scale=options.get("scale"),
            size=options.get("size"),
            quality=options["quality"],
            strip_metadata=options["strip_metadata"],
            existing=existing,
            fail_fast=options["fail_fast"],
            progress=advance,
            done=done,
        )
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if options["as_json"]:
        rows = [
            {
                "input": str(outcome.job.source),
                "output": None if outcome.error else str(outcome.job.target),
                "skipped": outcome.skipped,
                "error": str(outcome.error) if outcome.error else None,
            }
            for outcome in outcomes
        ]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    if failed:
        # One file with one reason keeps that reason's code; a batch says that some images failed.
        code = failed[0].error.exit_code if len(jobs) == 1 and failed[0].error else ImageError.exit_code
        if len(jobs) > 1:
            say(f"msrn: {len(failed)} of {len(jobs)} images failed")
        raise typer.Exit(code)


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)[xX×]([1-9]\d*)", text)
    if match is None:
        raise UsageError(f"--to takes WIDTHxHEIGHT, for example 1920x1080, got {text!r}")
    return int(match[2]), int(match[1])
