"""The commands for networks: evaluate, train, pack, publish, weights."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from msrn.cli.options import (
    TTA,
    AsJSON,
    DataRoot,
    Device,
    PrecisionOption,
    Quiet,
    Task,
    Tile,
)
from msrn.console import Bar, print_card, say
from msrn.errors import ImageError, UsageError


def evaluate(
    task: Annotated[Task, typer.Option("--task", help="Degradation and protocol.")],
    level: Annotated[list[float], typer.Option("--level", help="Scale, noise σ or JPEG quality; may be repeated.")],
    data: Annotated[list[Path], typer.Option("--data", help="Folder of clean images; may be repeated.")],
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", "-w", help="Weights or an .onnx file; may be repeated; by default the task's own."),
    ] = None,
    baseline: Annotated[bool, typer.Option("--baseline", help="Score the degraded input only.")] = False,
    restored: Annotated[Path | None, typer.Option("--restored", help="Score images that something else wrote.")] = None,
    function: Annotated[str | None, typer.Option("--callable", help="Score a Python function, module:name.")] = None,
    save_to: Annotated[Path | None, typer.Option("--save", help="Folder for the restored images.")] = None,
    report_to: Annotated[Path | None, typer.Option("--report", help="Folder for a page to look at.")] = None,
    tile: Tile = 0,
    device: Device = "auto",
    precision: PrecisionOption = "fp32",
    tta: TTA = False,
    as_json: AsJSON = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table with the paper's.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row per image.")] = False,
    quiet: Quiet = False,
) -> None:
    """Score weights on folders of clean images, by the literature's exact protocol."""
    from msrn import evaluate as evaluation
    from msrn import files, report, tables
    from msrn.picture import Picture

    if sum((baseline, restored is not None, function is not None, bool(weights))) > 1:
        raise UsageError("give only one of --weights, --baseline, --restored and --callable")
    for each in level:
        evaluation.check_level(task, each)
    methods: list[Any] = [None]
    if not baseline:
        from msrn import methods as known

        methods = known.choose(
            weights or [task],
            restored,
            function,
            color_range=evaluation.color_range(task),
            device=device,
            precision=precision,
            tile=tile,
            tta=tta,
        )
    cases = [(method, folder, each) for method in methods for folder in data for each in level]
    results: list[dict[str, Any]] = []
    gallery = report.Gallery()
    with Bar(quiet) as bar:
        for number, (method, folder, each) in enumerate(cases):

            def advance(done: int, total: int, number: int = number, name: str = folder.name) -> None:
                bar.show(name, (number + done / total) / len(cases))

            gallery.start()
            several = "" if len(cases) == 1 else f"{number}-{folder.name}-{each:g}"

            def observe(path: Path, *planes: Any, folder: str = several) -> None:
                if save_to is not None:
                    restored = Picture(planes[1].astype("float32"))
                    files.write(restored, save_to / folder / f"{path.stem}.png")
                if report_to is not None:
                    gallery.add(path.name, *planes)

            results.append(evaluation.evaluate(task, each, folder, method, advance, observe))
            for failure in results[-1]["failures"]:
                bar.say(f"msrn: error: {failure['name']}: {failure['error']}")
    if report_to is not None:
        costs = {m.name: m.restorer.config.multiply_adds_per_pixel for m in methods if hasattr(m, "restorer")}
        command = shlex.join(["msrn", *sys.argv[1:]])
        say(f"report: {report.write(report_to, report.page(results, gallery, costs, command))}")
    if as_json:
        typer.echo(json.dumps(results[0] if len(results) == 1 else results, indent=2, ensure_ascii=False))
    elif as_markdown:
        typer.echo(tables.markdown(results))
    elif as_csv:
        typer.echo(tables.comma_separated(results))
    else:
        typer.echo("\n\n".join(tables.text(result) for result in results))
        for first, second in zip(results, results[len(data) * len(level) :], strict=False):
            verdict = evaluation.compare(second, first)
            interval = f"{verdict['difference']:+.3f} dB, 95 % interval {verdict['low']:+.3f} to {verdict['high']:+.3f}"
            typer.echo(f"\n{second['weights']} against {first['weights']}, {first['data']}: {interval}")
        if not quiet:
            say(f"protocol: {results[0]['protocol']}")
    if any(result["failures"] for result in results):
        raise typer.Exit(ImageError.exit_code)


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


def weights(
    name: Annotated[str | None, typer.Argument(help="Weights to describe; all are listed without it.")] = None,
    as_json: AsJSON = False,
) -> None:
    """List the weights that come with the package, or describe one."""
    from dataclasses import asdict

    from msrn import weights as catalogue
    from msrn.tables import align

    if name is None:
        rows = [asdict(entry) for entry in catalogue.CATALOGUE]
        typer.echo(json.dumps(rows, indent=2) if as_json else align(rows, ["name", "task", "summary"]))
        return
    loaded = catalogue.load(name)
    card = asdict(loaded.card) | {"sha256": loaded.sha256, "file": loaded.name}
    if as_json:
        typer.echo(json.dumps(card, indent=2))
        return
    print_card(loaded)
