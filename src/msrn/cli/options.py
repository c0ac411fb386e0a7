"""Options that several commands share, each declared once: its names, type, range, help and panel.

A command takes them as annotated arguments, or as the fields of a dataclass that begins with ``@Parameter(name="*")``.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number

from msrn.errors import UsageError
from msrn.types import BackendName, Precision

FILES = Group.create_ordered("Input and output")
"""The panel of the help that comes first; the others follow in this order."""
SCORED = Group.create_ordered("What is measured")
SERVICE = Group.create_ordered("Who can reach it")
QUALITY = Group.create_ordered("Quality")
SPEED = Group.create_ordered("Speed")
MACHINES = Group.create_ordered("Many machines")
LIMITS = Group.create_ordered("Limits")
ADVANCED = Group.create_ordered("Advanced")


def at_least(least: float, most: float | None = None) -> Callable[[type, object], None]:
    """A check that a number lies between two bounds, which both belong to the range."""
    return Number(gte=least, lte=most)


def factor(kind: type, tokens: Sequence[Token]) -> float:
    """A factor as people write it: 2, 1.5, 2x, x2 or 2×."""
    return _number(tokens[0], r"[xX×]?([^xX×%]+)[xX×]?", 1, (1, 100), "a factor from 1 to 100, such as 2 or 1.5")


def share(kind: type, tokens: Sequence[Token]) -> float:
    """A share as people write it: 0.7 or 70%."""
    percent = tokens[0].value.endswith("%")
    return _number(tokens[0], r"([^%]+?) *%?", 100 if percent else 1, (0, 1), "a share from 0 to 1, such as 0.7 or 70%")


def seconds(kind: type, tokens: Sequence[Token]) -> float:
    """Seconds as people write them: 2, 2s or 0.5 s."""
    return _number(tokens[0], r"([^s]+?) *s?", 1, (0, 1e9), "seconds such as 2 or 2s")


def _number(token: Token, pattern: str, divisor: float, within: tuple[float, float], wanted: str) -> float:
    try:
        match = re.fullmatch(pattern, token.value.strip())
        value = float(match[1]) / divisor if match else math.nan
    except ValueError:
        value = math.nan
    if not within[0] <= value <= within[1]:  # NaN is not, either
        raise UsageError(f"{token.keyword} takes {wanted}, got {token.value!r}")
    return value


INPUTS = "Images, folders of images, patterns, videos; - for standard input."
Inputs = Annotated[Path, Parameter(name="IN", required=True, group=FILES, help=INPUTS)]
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


@Parameter(name="*", group=MACHINES)
@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """How many machines share what a manifest lists."""

    manifest: str | None = None
    """Restore what `msrn manifest` listed; a path or URI."""
    shard: Annotated[str | None, Parameter(metavar="I/N")] = None
    """Only one part of it: 0/8 is the first of eight."""
    cluster: Annotated[str | None, Parameter(metavar="auto|ADDRESS")] = None
    """Ray cluster that restores it; auto is the one that runs here."""
    cores: Annotated[int, Parameter(validator=at_least(0))] = 0
    """Cores of each of the cluster's actors; 0 = automatic."""

    def __post_init__(self) -> None:
        if self.manifest is None and (self.shard is not None or self.cluster is not None or self.cores):
            raise UsageError("--shard, --cluster and --cores are for --manifest")
        if self.cluster is None and self.cores:
            raise UsageError("--cores is for --cluster")
        if self.cluster is not None and self.shard is not None:
            raise UsageError("--shard is for programs that share a manifest without a --cluster: give one of them")
