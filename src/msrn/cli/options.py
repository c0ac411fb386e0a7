"""Options that several commands share, each declared once: its names, type, range, help and panel.

A command takes them as annotated arguments, or as the fields of a dataclass that begins with ``@Parameter(name="*")``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from msrn.types import BackendName, Precision

FILES = Group.create_ordered("Input and output")
"""The panel of the help that comes first; the others follow in this order."""
SCORED = Group.create_ordered("What is measured")
SERVICE = Group.create_ordered("Who can reach it")
QUALITY = Group.create_ordered("Quality")
SPEED = Group.create_ordered("Speed")
LIMITS = Group.create_ordered("Limits")
ADVANCED = Group.create_ordered("Advanced")


def at_least(least: float, most: float | None = None) -> Callable[[type, object], None]:
    """A check that a number lies between two bounds, which both belong to the range."""
    return Number(gte=least, lte=most)


Inputs = Annotated[
    Path,
    Parameter(
        name="IN",
        required=True,
        group=FILES,
        help="Images, folders of images, patterns, videos; - for standard input.",
    ),
]
Overwrite = Annotated[bool, Parameter(group=FILES, help="Replace existing outputs.")]
Weights = Annotated[
    str, Parameter(name=("--weights", "-w"), group=QUALITY, help="Weights: a name from `msrn weights`, or a file.")
]
SeveralWeights = Annotated[list[str] | None, Parameter(name=("--weights", "-w"), group=QUALITY)]
TTA = Annotated[
    bool, Parameter(name=("--tta", "-x"), group=QUALITY, help="Average eight flips and rotations (8× the time).")
]
Device = Annotated[str, Parameter(name=("--device", "-g"), group=SPEED, help="auto, cpu, cuda, cuda:1 or mps.")]
Backend = Annotated[BackendName, Parameter(group=SPEED, help="What computes the network.")]
NetworkPrecision = Annotated[
    Precision, Parameter(name="--precision", group=SPEED, help="Computing type of the network.")
]
Tile = Annotated[
    int,
    Parameter(
        name=("--tile", "-t"), group=SPEED, validator=at_least(0), help="Tile side in output pixels; 0 = automatic."
    ),
]
AsJSON = Annotated[bool, Parameter(name="--json", group=ADVANCED, help="Print the result as JSON on stdout.")]
Verbose = Annotated[bool, Parameter(name=("--verbose", "-v"), group=ADVANCED, help="Say what was chosen and why.")]
Quiet = Annotated[bool, Parameter(name=("--quiet", "-q"), group=ADVANCED, help="No progress, no messages but errors.")]
