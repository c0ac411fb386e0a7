"""The commands for weights: evaluate, publish, weights, export."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from msrn.cli.options import (
    TTA,
    AsJSON,
    BackendOption,
    Device,
    Overwrite,
    PrecisionOption,
    Quiet,
    Task,
    Tile,
    Verbose,
)
from msrn.console import Bar, print_card, say, show_log
from msrn.errors import ImageError, MSRNError, OutputError, UsageError


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
    protocol: Annotated[
        Literal["matlab", "authors-tiles"], typer.Option("--protocol", help="Whole images, or the authors' tiles.")
    ] = "matlab",
    color: Annotated[bool, typer.Option("--color", help="Score R, G and B instead of luminance.")] = False,
    save_to: Annotated[Path | None, typer.Option("--save", help="Folder for the restored images.")] = None,
    report_to: Annotated[Path | None, typer.Option("--report", help="Folder for a page to look at.")] = None,
    tile: Tile = 0,
    device: Device = "auto",
    backend: BackendOption = "eager",
    precision: PrecisionOption = "fp32",
    tta: TTA = False,
    as_json: AsJSON = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table with the paper's.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row per image.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score weights on clean images, by the literature's protocol."""
    show_log(verbose, quiet)
    if sum((baseline, restored is not None, function is not None, bool(weights))) > 1:
        raise UsageError("give only one of --weights, --baseline, --restored and --callable")
    if tta and (baseline or restored or function or any(name.endswith(".onnx") for name in weights or [])):
        raise UsageError("--tta is for weights; what else is scored restores as it does")
    from msrn import evaluate as evaluation
    from msrn import files, report, tables
    from msrn import methods as known

    for each in level:
        evaluation.check_level(task, each)
    sets = [evaluation.data_name(folder) for folder in data]
    if len(set(sets)) < len(sets):
        raise UsageError(f"two folders would both be called {max(sets, key=sets.count)!r}: evaluate them one by one")
    places = [(folder, each, f"{name}-{each:g}") for folder, name in zip(data, sets, strict=True) for each in level]
    methods: list[Any] = [None]
    if restored is None and not baseline:
        options: dict[str, Any] = {"device": device, "backend": backend, "precision": precision}
        options |= {"tile": tile, "tta": tta}
        methods = known.choose(weights or [task], function, **options)
    for method in methods:
        evaluation.check_method(task, method, protocol)
    results: list[dict[str, Any]] = []
    lost: list[MSRNError] = []
    gallery = report.Gallery()
    cases = [(method, *place) for method in methods for place in places]
    subfolders = [
        "" if len(cases) == 1 else f"{number}-{place}" if len(methods) > 1 else place
        for number in range(1, len(methods) + 1)
        for _, _, place in places
    ]
    if save_to is not None:
        saved = [(save_to / name, case[1]) for name, case in zip(subfolders, cases, strict=True)]
        _check_targets(saved, [restored / name for name in subfolders] if restored is not None else [])
    with Bar(quiet) as bar:
        for number, (method, folder, each, place) in enumerate(cases):

            def advance(done: int, total: int, number: int = number, name: str = place) -> None:
                bar.show(name, (number + done / total) / len(cases))

            subfolder = subfolders[number]

            def observe(path: Path, *planes: Any, subfolder: str = subfolder) -> None:
                if save_to is not None:
                    files.write(evaluation.as_picture(planes[1], task), save_to / subfolder / f"{path.stem}.png")
                if report_to is not None:
                    gallery.add(path.name, *planes)

            try:
                if restored is not None:
                    method = known.FolderMethod(restored / subfolder, evaluation.color_range(task), folder)
                result = evaluation.evaluate(
                    task, each, folder, method, advance, observe, protocol=protocol, color=color
                )
            except (UsageError, ImageError, OutputError) as error:  # of this folder; the others are still scored
                lost.append(error)
                bar.say(f"msrn: error: {error}")
                gallery.discard()
                if isinstance(error, OutputError):  # what is complete is printed
                    break
                continue
            gallery.finish()
            results.append(result)
            for failure in result["failures"]:
                bar.say(f"msrn: error: {failure['name']}: {failure['error']}")
            if result["megapixels_per_second"] and not quiet:
                speed = f"{result['seconds']:.1f} s, {result['megapixels_per_second']:.2f} megapixels per second"
                whose = f"{tables.method_name(result)}, " if len(methods) > 1 else ""
                bar.say(f"{whose}{place}: {speed}")
    if not results:
        raise typer.Exit(lost[0].exit_code)
    evaluation.compare_with_first(results)
    if as_json:
        typer.echo(tables.as_json(results))
    elif as_markdown:
        typer.echo(tables.markdown(results))
    elif as_csv:
        typer.echo(tables.comma_separated(results))
    else:
        typer.echo("\n\n".join(tables.text(result) for result in results))
        if not quiet:
            say(f"protocol: {results[0]['protocol']}")
    if report_to is not None:
        costs = {m.name: m.restorer.config.multiply_adds_per_pixel for m in methods if hasattr(m, "restorer")}
        command = shlex.join(["msrn", *sys.argv[1:]])
        say(f"report: {report.write(report_to, report.page(results, gallery, costs, command))}")
    if lost and isinstance(lost[-1], OutputError):
        raise typer.Exit(OutputError.exit_code)
    if lost or any(result["failures"] for result in results):
        raise typer.Exit(ImageError.exit_code)


def _check_targets(saved: Sequence[tuple[Path, Path]], restored: Sequence[Path]) -> None:
    """Raise :class:`UsageError` where saved images would replace images that are read, or each other.

    Args:
        saved: folders to save to, and the folder of originals of each.
        restored: folders of restored images that are read.
    """
    from msrn.data import list_images

    read = {path.resolve() for folder in {clean for _, clean in saved} for path in list_images([folder])}
    read |= {path.resolve() for folder in restored if folder.is_dir() for path in folder.iterdir()}
    for target, clean in saved:
        seen: set[Path] = set()
        for image in list_images([clean]):
            path = (target / f"{image.stem}.png").resolve()
            if path in read:
                raise UsageError(f"--save would replace {path}, which is read: choose another folder")
            if path in seen:
                raise UsageError(f"{clean} holds several images called {image.stem!r}: --save needs names of their own")
            seen.add(path)


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
) -> None:
    """Turn a run into a weights file with its card and scores."""
    from msrn.publish import publish as publish_run

    path, card = publish_run(
        run,
        output,
        data_root=data_root,
        data_name=data_name,
        licence=licence,
        scores_on=data or [],
        levels=level or [],
    )
    typer.echo(str(path))
    if not card.scores:
        say("msrn: note: its card has no scores; --data and --level measure them")
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

    from msrn import weights as catalogue
    from msrn.tables import align

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
    from msrn import weights as catalogue
    from msrn.export import export_onnx

    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists; use --overwrite")
    difference = export_onnx(catalogue.load(name), output)
    typer.echo(str(output))
    say(f"msrn: differs from the network by {difference:.1e} at most, where white is 1")
