"""The command that makes weights files of other programs' files: convert."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from msrn.cli.console import print_data, say
from msrn.cli.options import FILES, QUALITY
from msrn.types import Range, Task


def convert(
    file: Annotated[Path, Parameter(group=FILES)],
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o", group=FILES)],
    task: Annotated[Task, Parameter(group=QUALITY)],
    level: Annotated[list[float], Parameter(group=QUALITY)],
    luminance: Annotated[Range, Parameter(group=QUALITY)] = "studio",
    data: Annotated[str, Parameter(group=QUALITY)] = "unknown",
    licence: Annotated[str, Parameter(group=QUALITY)] = "unknown",
) -> None:
    """Make a weights file of Caffe's or PyTorch's, and say what differs.

    $ msrn convert MemNet_M6R6_80C64.caffemodel -o weights --task sr --level 2 --level 3 --level 4
    $ msrn convert epoch_100.pth.tar -o weights --task sr --level 2

    Args:
        file: A .caffemodel, or a checkpoint of the original MSRN-PyTorch (.pth.tar).
        output: Folder for the weights file.
        task: What the network restores; its file does not say.
        level: Scale, σ or quality it was trained for; may be repeated.
        luminance: Range of the luminance it was trained on: studio (16 to 235, as MATLAB has it) or full.
        data: What it was trained on, for its card.
        licence: Licence of the weights, for its card.
    """
    from msrn.network.converters import convert as converted
    from msrn.network.weights import save

    weights = converted(file, task, tuple(level), luminance, data, licence)
    config = weights.card.config
    name = "MSRN" if config.shared and config.units == 1 else "MSRN-variant"
    print_data(str(save(weights, output, f"{name}_{config.shape}_{task}-converted")))
    if config.units > 1:
        say(f"msrn: note: not the paper's network: each recursion applies {config.units} residual units of its own")
    if not config.shared:
        say("msrn: note: not the paper's network: its recursions do not share their convolutions")
