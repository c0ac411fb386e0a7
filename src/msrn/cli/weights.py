"""The commands for weights: publish, weights, export."""

import json
from pathlib import Path
from typing import Annotated

import typer

from msrn.cli.console import print_card, say
from msrn.cli.options import AsJSON, Overwrite
from msrn.errors import OutputError


def publish(
    run: Annotated[Path, typer.Argument(help="A run folder, one checkpoint, or a weights file to complete.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the weights file.")],
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", help="Where the recipe's images are: measures what int8 and bf16 cost."),
    ] = None,
    data_name: Annotated[str, typer.Option("--data-name", help="Name of the training data in the file name.")] = "",
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence of the weights; Apache-2.0 by default.", show_default=False)
    ] = None,
    data: Annotated[list[Path] | None, typer.Option("--data", help="Folder of clean images to score on.")] = None,
    level: Annotated[list[float] | None, typer.Option("--level", help="Level to score at; may be repeated.")] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Round weights to float16: half the file, to be measured anew.")
    ] = False,
) -> None:
    """Turn a run into a weights file with its card and scores."""
    from msrn.training.publish import publish as publish_run

    path, card = publish_run(
        run,
        output,
        data_root=data_root,
        data_name=data_name,
        licence=licence,
        scores_on=data or [],
        levels=level or [],
        half=half,
    )
    typer.echo(str(path))
    if not card.scores:
        say("msrn: note: its card has no scores; --data and --level measure them")
    if not card.costs:
        say(
            "msrn: note: its card does not say what int8 and bf16 cost, so only fp32 is chosen; --data-root measures it"
        )
    for name, levels in card.scores.items():
        for at, scores in levels.items():
            say(f"{name} {at}: {scores['mean']['psnr']:.2f} dB (degraded {scores['baseline']['psnr']:.2f})")
    for precision, losses in card.costs.items():
        say(f"{precision} costs " + ", ".join(f"{loss:.4f} dB at {at}" for at, loss in losses.items()))


def weights(
    name: Annotated[str | None, typer.Argument(help="Weights to describe; all are listed without it.")] = None,
    as_json: AsJSON = False,
) -> None:
    """List the weights that come with the package, or describe one."""
    from dataclasses import asdict

    from msrn.evaluation.tables import align
    from msrn.network import weights as catalogue

    if name is None:
        kinds = [entry.kind for entry in catalogue.CATALOGUE]
        firsts = [kind if kind not in kinds[:number] else "" for number, kind in enumerate(kinds)]
        rows = [asdict(row) | {"default for": kind} for row, kind in zip(catalogue.CATALOGUE, firsts, strict=True)]
        columns = ["name", "task", "default for", "summary"]
        typer.echo(json.dumps(rows, indent=2) if as_json else align(rows, columns))
        return
    loaded = catalogue.load(name)
    card = asdict(loaded.card) | {"sha256": loaded.sha256, "file": loaded.name}
    if as_json:
        typer.echo(json.dumps(card, indent=2))
        return
    print_card(loaded)


def export(
    name: Annotated[str, typer.Argument(metavar="WEIGHTS", help="A name from `msrn weights`, or a file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file, .onnx.")],
    overwrite: Overwrite = False,
) -> None:
    """Write weights as an ONNX file for other programs, and check it."""
    from msrn.network import weights as catalogue
    from msrn.restoration.export import export_onnx

    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists; use --overwrite")
    difference = export_onnx(catalogue.load(name), output)
    typer.echo(str(output))
    say(f"msrn: differs from the network by {difference:.1e} at most, where white is 1")
