"""The command line: parse, call one function, map errors to exit codes.

Data goes to stdout, progress and messages to stderr. Heavy modules are imported inside the commands, so that
``msrn --help`` answers at once.

Exit codes: 0 all done, 1 internal error, 2 usage, 3 some images failed, 4 model or weights, 5 output not
writable, 130 interrupted.
"""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from msrn.console import Bar, print_card, print_scores, say, table
from msrn.errors import ImageError, MSRNError, UsageError

if TYPE_CHECKING:
    from msrn.batch import Job, Outcome

app = typer.Typer(
    name="msrn",
    help="Restore photographs with a persistent memory network: upscale, denoise, remove JPEG artifacts.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


Task = Literal["sr", "denoise", "jpeg"]
Precision = Literal["auto", "fp32", "bf16"]

Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Images, or folders of images.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Output file (for one image) or folder.")]
WeightsName = Annotated[str, typer.Option("--weights", "-w", help="Weights: a name from `msrn weights`, or a file.")]
Tile = Annotated[int, typer.Option("--tile", "-t", min=0, help="Tile side in output pixels; 0 = automatic.")]
Device = Annotated[str, typer.Option("--device", "-g", help="auto, cpu, cuda, cuda:1, mps.")]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="Computing type of the network.")]
TTA = Annotated[bool, typer.Option("--tta", "-x", help="Average eight flips and rotations (8× the time).")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Search folders recursively.")]
Suffix = Annotated[str, typer.Option("--suffix", help="Added to output names, for example _restored.")]
Extension = Annotated[str | None, typer.Option("--ext", help="Output format: png, jpg, webp, tif, bmp.")]
Quality = Annotated[int, typer.Option("--quality", min=1, max=100, help="Quality of JPEG and WebP output.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave existing outputs as they are.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be written.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first image that fails.")]
Strip = Annotated[bool, typer.Option("--strip-metadata", help="Do not copy EXIF, ICC profile and resolution.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say which weights, device, precision and tiles.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no messages but errors.")]
DataRoot = Annotated[
    Path, typer.Option("--data-root", help="Where the recipe's image folders are, or a file from `msrn pack`.")
]


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def evaluate(
    task: Annotated[Task, typer.Option("--task", help="Degradation and protocol.")],
    level: Annotated[float, typer.Option("--level", help="The scale, the noise σ or the JPEG quality.")],
    data: Annotated[list[Path], typer.Option("--data", help="Folder of clean images; may be repeated.")],
    weights: Annotated[
        str | None, typer.Option("--weights", "-w", help="Weights to score; the task's default.")
    ] = None,
    baseline: Annotated[bool, typer.Option("--baseline", help="Score the degraded input only.")] = False,
    tile: Tile = 0,
    device: Device = "auto",
    precision: PrecisionOption = "fp32",
    tta: TTA = False,
    as_json: AsJSON = False,
    quiet: Quiet = False,
) -> None:
    """Score weights on a folder of clean images, by the literature's exact protocol."""
    from msrn import evaluate as evaluation

    if baseline and weights is not None:
        raise UsageError("--baseline scores the degraded input; it takes no --weights")
    evaluation.check_level(task, level)
    restorer = None
    if not baseline:
        from msrn.engine import Restorer

        restorer = Restorer(weights or task, device=device, precision=precision, tile=tile, tta=tta)
    with Bar(quiet) as bar:
        result = evaluation.evaluate(
            task, level, data, restorer, progress=lambda done, total: bar.show("images", done / total)
        )
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        print_scores(result)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a TOML file.")],
    data_root: DataRoot = Path("data"),
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New run folder; runs/NAME by default.")] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Continue the run in a folder.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe.")] = None,
    init_from: Annotated[str | None, typer.Option("--init-from", help="Start from weights (fine-tuning).")] = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Stop after this long, with a checkpoint.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Processor threads; 0 = all.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Train a recipe; interrupt it whenever you like and go on with --resume."""
    from msrn import recipe as recipes

    loaded = recipes.load(recipe, settings or [])
    if resume is not None and (output is not None or init_from is not None):
        raise UsageError("--resume continues a run as it is: it takes neither --output nor --init-from")
    run = resume or output or Path("runs") / loaded.name

    import torch

    from msrn import weights
    from msrn.train import Progress, fit

    if threads:
        torch.set_num_threads(threads)
    initial = weights.load(init_from).network.requires_grad_(True) if init_from else None
    with Bar(quiet) as bar:

        def report(now: Progress) -> None:
            bar.show(f"loss {now.loss:.5f}  {now.patches_per_second:.0f} patches/s", now.step / now.steps)
            if now.scores and not quiet:
                scores = "  ".join(f"{level}: {score:.3f} dB" for level, score in now.scores.items())
                bar.say(f"step {now.step}  loss {now.loss:.5f}  rate {now.rate:.2e}  held-out {scores}")

        fit(
            loaded,
            data_root,
            run,
            resume=resume is not None,
            initial=initial,
            device=device,
            precision=precision,
            compiled=compiled,
            minutes=minutes,
            report=report,
        )
    typer.echo(str(run))


@app.command()
def pack(
    recipe: Annotated[Path, typer.Argument(help="Recipe whose images to pack.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The pack, an .npz file.")],
    data_root: DataRoot = Path("data"),
) -> None:
    """Put a recipe's training images into one file, ready to carry to another machine."""
    from msrn import recipe as recipes
    from msrn.data import read_folders, save_pack

    wanted = recipes.load(recipe)
    packed = read_folders(
        [data_root / folder for folder in wanted.data.folders], wanted.network.in_channels, wanted.data.luminance
    )
    save_pack(packed, output)
    say(f"{len(packed.images)} images -> {output}")


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="A run folder, or one checkpoint.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the weights file.")],
    data_name: Annotated[str, typer.Option("--data-name", help="Name of the training data in the file name.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Licence of the weights.")] = "Apache-2.0",
    data: Annotated[list[Path] | None, typer.Option("--data", help="Folder of clean images to score on.")] = None,
    level: Annotated[list[float] | None, typer.Option("--level", help="Level to score at; may be repeated.")] = None,
) -> None:
    """Turn a run into a weights file: the averaged network with its card."""
    from msrn.publish import publish as publish_run

    path, card = publish_run(
        run, output, data_name=data_name, licence=licence, scores_on=data or [], levels=level or []
    )
    typer.echo(str(path))
    for name, levels in card.scores.items():
        for at, scores in levels.items():
            say(f"{name} {at}: {scores['mean']['psnr']:.2f} dB (degraded {scores['baseline']['psnr']:.2f})")


@app.command()
def weights(
    name: Annotated[str | None, typer.Argument(help="Weights to describe; all are listed without it.")] = None,
    as_json: AsJSON = False,
) -> None:
    """List the weights that come with the package, or describe one."""
    from dataclasses import asdict

    from msrn import weights as catalogue

    if name is None:
        rows = [asdict(entry) for entry in catalogue.CATALOGUE]
        typer.echo(json.dumps(rows, indent=2) if as_json else table(rows, ("name", "task", "summary")))
        return
    loaded = catalogue.load(name)
    card = asdict(loaded.card) | {"sha256": loaded.sha256, "file": loaded.name}
    if as_json:
        typer.echo(json.dumps(card, indent=2))
        return
    print_card(loaded)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Restore photographs with a persistent memory network: upscale, denoise, remove JPEG artifacts."""
    if version:
        from msrn import __version__

        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Entry point of ``msrn``."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.TyperException as error:
        say(f"msrn: error: {error.format_message()} (see msrn --help)")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        say("msrn: interrupted")
        sys.exit(130)
    except MSRNError as error:
        say(f"msrn: error: {error}")
        sys.exit(error.exit_code)


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


if __name__ == "__main__":
    main()
