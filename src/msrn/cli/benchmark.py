"""The command that measures: benchmark."""

from pathlib import Path
from typing import Annotated

import typer

from msrn.cli.console import Bar, say, show_log
from msrn.cli.options import AsJSON, Quiet, Verbose


def benchmark(
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", "-w", help="Weights, or a shape such as M6R6C64 (untrained); may be repeated."),
    ] = None,
    size: Annotated[list[int] | None, typer.Option("--size", min=1, help="Side in pixels; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each entry takes its turn.")] = 5,
    device: Annotated[str, typer.Option("--device", "-g", help="cpu, cuda, cuda:1, auto.")] = "cpu",
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Also the plain network and others.")] = True,
    page: Annotated[Path | None, typer.Option("--html", help="Draw the result, one self-contained page.")] = None,
    as_json: AsJSON = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure every backend and precision here: speed and memory."""
    from msrn.evaluation import speed_page
    from msrn.evaluation.results import benchmark_to_json
    from msrn.evaluation.speed import benchmark as measure

    show_log(verbose, quiet)
    with Bar(quiet) as bar:
        result = measure(
            weights or ["sr"],
            size or [256, 512],
            rounds,
            peers,
            lambda share: bar.show("benchmark", share),
            device,
        )
    typer.echo(benchmark_to_json(result) if as_json else speed_page.markdown(result))
    if page is not None:
        speed_page.write_speed_page(result, page)
        say(f"page: {page}")
