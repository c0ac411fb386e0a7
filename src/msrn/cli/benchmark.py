"""The command that measures speed and memory: benchmark."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from msrn.cli import options
from msrn.cli.console import Bar, print_data, say, show_log
from msrn.cli.options import FILES, SCORED, SPEED, at_least


def benchmark(
    *,
    weights: Annotated[list[str] | None, Parameter(alias="-w", group=SCORED)] = None,
    size: Annotated[list[int] | None, Parameter(group=SCORED, validator=at_least(1))] = None,
    peers: Annotated[bool, Parameter(group=SCORED, negative="--no-peers", show_default="peers")] = True,
    html: Annotated[Path | None, Parameter(group=FILES)] = None,
    rounds: Annotated[int, Parameter(group=SPEED, validator=at_least(1))] = 5,
    device: options.Device = "cpu",
    as_json: options.AsJSON = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure every backend and precision here: speed and memory.

    $ msrn benchmark
    $ msrn benchmark -w sr -w M4R4C32 --size 512 --html speed.html

    Args:
        weights: Weights, or a shape such as M6R6C64 (untrained); may be repeated.
        size: Side in pixels; may be repeated.
        peers: Also the plain network and others.
        html: Draw the result, one self-contained page.
        rounds: How often each entry takes its turn.
    """
    from msrn.evaluation.report import write_benchmark
    from msrn.evaluation.results import to_json
    from msrn.evaluation.speed import benchmark as measure
    from msrn.evaluation.tables import benchmark_markdown

    show_log(verbose, quiet)
    with Bar(quiet) as bar:
        show = partial(bar.show, "benchmark")
        result = measure(weights or ["sr"], size or [256, 512], rounds, peers, show, device)
    print_data(to_json(result) if as_json else benchmark_markdown(result))
    if html is not None:
        write_benchmark(html, result)
        say(f"page: {html}")
