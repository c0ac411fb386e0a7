"""The command that looks inside a network."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from msrn.cli import options
from msrn.cli.console import Bar, count, print_data, say, show_log
from msrn.cli.options import FILES
from msrn.errors import ImageError


def inspect(
    name: Annotated[str, Parameter(name="WEIGHTS", group=FILES)],
    /,
    *pictures: Annotated[Path, Parameter(name="PICTURE", group=FILES)],
    output: Annotated[Path | None, Parameter(alias="-o", group=FILES)] = None,
    level: Annotated[float | None, Parameter(group=FILES)] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJSON = False,
    quiet: options.Quiet = False,
) -> None:
    """Look inside a network: what its blocks read, add, see and cost.

    $ msrn inspect sr
    $ msrn inspect denoise album -o inside.html

    Clean pictures are degraded as the weights' task has it, and restored: PSNR
    and frequencies after each block, the receptive field, where the effort went.

    Args:
        name: A name from `msrn weights`, or a file.
        pictures: Clean pictures, or folders of them; a drawn chart without.
        output: Page (.html) or sheet (.png, .svg), or a folder for all of it.
        level: Scale, σ or quality of the degraded pictures.
    """
    from msrn.evaluation.report import check_packages
    from msrn.network.weights import load

    show_log(quiet=quiet)
    weights = load(name)
    if output is not None:
        check_packages("msrn inspect --output")

    from msrn.evaluation.inspection import inspect as look  # which imports torch
    from msrn.evaluation.inspection.page import check_outputs, summary, write_inspection

    if output is not None:
        check_outputs(output, overwrite=overwrite)
    with Bar(quiet) as bar:
        found = look(weights, pictures, level, bar.show)
    for failure in found.failures:
        say(f"msrn: error: {failure.name}: {failure.error}")
    print_data(json.dumps(found.as_json(), indent=2) if as_json else summary(found))
    if output is not None:
        command = shlex.join(["msrn", *sys.argv[1:]])
        for path in write_inspection(found, output, command):
            say(f"msrn: written: {path}")
    if found.failures:
        say(f"msrn: {count(len(found.failures), 'picture')} could not be looked at")
        raise SystemExit(ImageError.exit_code)
