"""The command that checks a result against its input, whoever made it."""

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from msrn.cli import options
from msrn.cli.console import print_data, show_log
from msrn.cli.options import FILES, LIMITS
from msrn.errors import ImageError, OutputError, UsageError
from msrn.types import Limits


def verify(
    source: Annotated[Path, Parameter(name="INPUT", group=FILES)],
    result: Annotated[Path, Parameter(name="OUTPUT", group=FILES)],
    /,
    *,
    heatmap: Annotated[Path | None, Parameter(name="--map", group=FILES)] = None,
    overwrite: options.Overwrite = False,
    limits: Annotated[Limits, Parameter(name="*", group=LIMITS)] = Limits(),
    as_json: options.AsJSON = False,
    verbose: options.Verbose = False,
) -> None:
    """Check whether a result keeps to what its input allows.

    $ msrn verify photo.jpg restored.png
    $ msrn verify small.png large.png --map departures.png

    Any program's result can be checked. A JPEG file allows what becomes its own
    coefficients when it is coded again, a small picture what becomes it when it
    is reduced again, to ±1 grey level. Exit code: 0 consistent, 3 not
    consistent, 2 nothing bounds such a result.

    Args:
        source: What was restored: a JPEG file, or a picture that was enlarged.
        result: What was made of it.
        heatmap: Picture that shows where it departs: white is a step or 8 grey levels too far.
    """
    from msrn import images
    from msrn.images.isolated import Decoder
    from msrn.restoration.certificate import measure

    show_log(verbose)
    if heatmap is not None:
        images.check_output(heatmap, 1, 1)
        if heatmap.exists() and not overwrite:
            raise OutputError(f"{heatmap} exists; use --overwrite")
    with closing(Decoder(limits.max_pixels, limits.max_seconds, coefficients=True)) as decoder:
        before, after = (decoder.decode(images.read_bytes(path, limits.max_bytes), path) for path in (source, result))
    try:
        departure = measure(before, after)
    except UsageError as error:
        raise UsageError(f"{result} cannot be checked against {source}: {error}") from error
    if heatmap is not None:
        images.write(departure.picture(), heatmap, overwrite=overwrite)
    print_data(json.dumps(departure.as_json(), indent=2) if as_json else str(departure))
    if not departure.consistent:
        raise SystemExit(ImageError.exit_code)
