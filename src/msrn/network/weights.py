"""Weights files: a card and arrays, in safetensors, from which a network rebuilds itself.

The file name ends in the first eight hex digits of the file's SHA-256; the digits are checked whenever they
are there. Loading is strict: every tensor must be present, of the right shape, and nothing else. Nothing is
ever unpickled, and nothing here needs torch: :func:`msrn.network.memnet.build` makes a network of a file where one is
wanted, :func:`msrn.network.graph.fuse` the graph that restores pictures.
"""

import hashlib
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as read_arrays
from safetensors.numpy import save as serialise

from msrn.errors import UsageError, WeightsError
from msrn.network.catalogue import CATALOGUE, CatalogueRow, find, named_shape
from msrn.network.config import MSRNConfig
from msrn.system.atomic import write_atomically
from msrn.types import Range, Task

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_LATER = {"units": 1, "shared": True}
HARMLESS = 0.02
"""What a lower precision may cost, in dB at any level, for the automatic choice to take it."""


@dataclass(frozen=True)
class Card:
    """What a weights file says of itself."""

    task: Task
    config: MSRNConfig
    luminance: Range
    """Range of the luminance it was trained on (ignored by three-channel networks)."""
    levels: tuple[float, ...]
    """Scales, or lowest and highest σ or quality, it was trained for."""
    data: str
    """What it was trained on."""
    licence: str = "Apache-2.0"
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    """The resolved recipe."""
    training: dict[str, Any] = field(default_factory=dict[str, Any])
    """Steps, patches, hours, machine."""
    scores: dict[str, Any] = field(default_factory=dict[str, Any])
    """Mean PSNR by data set and level, as ``msrn evaluate`` printed them."""
    commit: str = ""
    """Revision of this project that made it."""
    ranges: dict[str, float] = field(default_factory=dict[str, float])
    """Largest value of each convolution's input that is rounded to 8 bit; none where they were not measured."""
    losses: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    """By precision and level, how many dB it costs on images held out of training."""

    @property
    def costs(self) -> dict[str, dict[str, float]]:
        """The losses that are known, and of int8-bf16 the sum of both: to first order, two roundings' errors add up."""
        parts = [self.losses.get(part, {}) for part in ("int8", "bf16")]
        if not all(parts) or parts[0].keys() != parts[1].keys():
            return self.losses
        # What one of them gains by chance is no licence for the other.
        return self.losses | {"int8-bf16": {level: sum(max(0.0, part[level]) for part in parts) for level in parts[0]}}

    def cost(self, precision: str) -> float:
        """Return how many dB a computing type costs at the level where it costs most; infinite if that is not known."""
        return 0.0 if precision == "fp32" else max(self.costs.get(precision, {}).values(), default=math.inf)

    @property
    def harmless(self) -> tuple[str, ...]:
        """Computing types that cost at most 0.02 dB at every level that was measured; fp32 always."""
        return tuple(name for name in ("fp32", *self.costs) if self.cost(name) <= HARMLESS)


@dataclass(frozen=True, eq=False)
class Weights:
    """A weights file in memory: what it says and what it holds.

    Args:
        card: what it says of itself.
        arrays: the network's tensors by name, as ``MSRN.state_dict()`` has them: float32, or float16 for convolutions;
            int64 for counters. They cannot be changed.
        name: for messages.
        sha256: of the file; empty where a program made it.

    Example:
        >>> weights = load("msrn-m4r1s2-sr")
        >>> weights.card.task, weights.arrays["extract.weight"].shape
        ('sr', (64, 4, 3, 3))
    """

    card: Card
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)
    name: str
    sha256: str = ""

    def __post_init__(self) -> None:
        for array in self.arrays.values():
            array.flags.writeable = False
        object.__setattr__(self, "arrays", MappingProxyType(dict(self.arrays)))

    @property
    def key(self) -> str:
        """What tells it from others: the SHA-256, or the name of what a program made."""
        return self.sha256 or self.name

    @cached_property
    def content(self) -> str:
        """A digest of all that decides what is computed, whatever file it came from."""
        hashing = hashlib.sha256(json.dumps([asdict(self.card.config), self.card.ranges], sort_keys=True).encode())
        for name, array in sorted(self.arrays.items()):
            hashing.update(name.encode() + array.tobytes())
        return hashing.hexdigest()

    @property
    def storage(self) -> str:
        """The type that convolutions' weights are stored in; fp32 is computed with either."""
        return str(self.arrays["extract.weight"].dtype)


def load(name_or_path: str | Path, rows: Sequence[CatalogueRow] = CATALOGUE) -> Weights:
    """Load weights by catalogue name, by task (its default; ``denoise-color`` for colours), or from a file.

    Names may be spelt as the project's (``msrn-m4r1s2-sr``) or the field's (``MemNet_M4R1S2_sr``). Names of the paper's
    network (``MSRN_M6R6_x2``, ``memnet_m6r6_denoise``) load it, or what stands in for it, with a warning that says what
    differs.

    Raises:
        WeightsError: unknown name, missing or damaged file, wrong hash, or tensors that do not fit.
    """
    row = find(name_or_path, rows)
    if row is None:
        path = Path(name_or_path)
        if not path.is_file():
            known = [*dict.fromkeys(row.kind for row in rows), *(row.name for row in rows)]
            served = find(path.name.removesuffix(".tar").removesuffix(".pth"), rows)
            near = [served.name] if served else get_close_matches(str(name_or_path).lower(), known, 1, 0.7)
            raise WeightsError(
                f"no weights named {str(name_or_path)!r} and no such file; "
                + (f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}")
            )
        return load_file(path)
    with resources.as_file(resources.files("msrn.network") / "embedded" / row.file) as path:
        weights = load_file(path)
    if weights.sha256 != row.sha256:
        raise WeightsError(f"the embedded file {row.file} has been altered; install the package again")
    named = named_shape(name_or_path)
    if named not in (None, weights.card.config.shape):
        _warn_of_stand_in(str(name_or_path), named, row.name, weights.card.config)
    return weights


@cache  # once: a batch loads its weights for several purposes
def _warn_of_stand_in(name: str, shape: str, row: str, config: MSRNConfig) -> None:
    at = f", on squares of {config.unshuffle}×{config.unshuffle} pixels" if config.unshuffle > 1 else ""
    logger.warning(
        f"note: no {shape} is published yet; {row} stands in for {name}: {config.memory_blocks} memory blocks, "
        f"recursions: {config.recursions}, {config.channels} channels{at}"
    )


def load_file(path: Path) -> Weights:
    """Load a weights file; see :func:`load` for the errors."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror}") from error
    digest = hashlib.sha256(data).hexdigest()
    named = re.search(r"-([0-9a-f]{8})$", path.stem)
    if named and named[1] != digest[:8]:
        raise WeightsError(f"{path} is damaged: its SHA-256 begins with {digest[:8]}, its name says {named[1]}")
    try:
        with safe_open(path, framework="np") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        others = path.name.lower().endswith((".pth", ".pth.tar", ".pt", ".caffemodel"))
        todo = "; msrn convert makes a weights file of it" if others else f": {error}"
        raise WeightsError(f"{path} is not a safetensors file{todo}") from error
    card = _parse(metadata, path)
    try:
        arrays = read_arrays(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:  # such as types that numpy does not have
        raise WeightsError(f"{path.stem} holds tensors that cannot be read: {error!r}") from error
    _check(arrays, card.config, path.stem)
    return Weights(card, arrays, path.stem, digest)


def save(weights: Weights, folder: Path, stem: str) -> Path:
    """Write ``folder/stem-<hash>.safetensors`` and return its path.

    Where float16 holds all convolutions' weights exactly (see :func:`halve`), they are stored so.

    Raises:
        WeightsError: the arrays do not fit the card, or one is not finite.
        OutputError: the file cannot be written.
    """
    _check(weights.arrays, weights.card.config, weights.name)
    halves = _halves(weights)
    exact = all(np.array_equal(half, weights.arrays[key]) for key, half in halves.items())
    state = {**weights.arrays, **(halves if exact else {})}
    # One key only: safetensors writes several in random order, and the same network must give the same hash.
    # Fields that came later are left out where they say nothing, so that older programs read the file.
    described = asdict(weights.card)
    described["config"] = {key: value for key, value in described["config"].items() if value != _LATER.get(key)}
    card = json.dumps({"format_version": FORMAT_VERSION, "card": described})
    data = serialise({key: np.asarray(array, order="C") for key, array in state.items()}, {"msrn": card})
    path = folder / f"{stem}-{hashlib.sha256(data).hexdigest()[:8]}.safetensors"
    write_atomically(path, lambda file: file.write(data))
    return path


def halve(weights: Weights) -> Weights:
    """Return weights whose convolutions are rounded to what float16 holds, so that their file takes half as much.

    Weights that are so already are returned themselves.

    Raises:
        WeightsError: one is too large for that.
    """
    halves = _halves(weights)
    for key, half in halves.items():
        if not np.isfinite(half).all():
            raise WeightsError(f"{key} holds values that are too large for float16")
    if all(np.array_equal(half, weights.arrays[key]) for key, half in halves.items()):
        return weights
    rounded = {key: half.astype(np.float32) for key, half in halves.items()}
    return replace(weights, arrays={**weights.arrays, **rounded}, sha256="")


def _halves(weights: Weights) -> dict[str, NDArray[np.float16]]:
    with np.errstate(over="ignore"):
        return {key: array.astype(np.float16) for key, array in weights.arrays.items() if array.ndim == 4}


def tensors_of(config: MSRNConfig) -> dict[str, tuple[int, ...]]:
    """The names and shapes of all tensors of a network, as ``MSRN(config).state_dict()`` has them."""
    blocks, recursions, channels, depth = config.memory_blocks, config.recursions, config.channels, config.depth
    outputs = blocks if config.multi_supervised else 1
    shapes: dict[str, tuple[int, ...]] = {"ensemble": (blocks,)} if config.multi_supervised else {}

    def norm(name: str, width: int) -> None:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{leaf}"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    def convolution(name: str, out: int, width: int, side: int = 3) -> None:
        shapes.update({f"{name}.weight": (out, width, side, side), f"{name}.bias": (out,)})

    norm("extract_norm", depth)
    convolution("extract", channels, depth)
    for m in range(blocks):
        for k in range(config.applications):
            norm(f"blocks.{m}.norm1.{k}", channels)
            norm(f"blocks.{m}.norm2.{k}", channels)
        for k in range(config.pairs):
            which = "" if config.pairs == 1 else f".{k}"
            convolution(f"blocks.{m}.conv1{which}", channels, channels)
            convolution(f"blocks.{m}.conv2{which}", channels, channels)
        norm(f"blocks.{m}.gate_norm", channels * (m + 1 + recursions))
        convolution(f"blocks.{m}.gate", channels, channels * (m + 1 + recursions), side=1)
    for m in range(outputs):
        norm(f"reconstruct_norm.{m}", channels)
    convolution("reconstruct", depth, channels)
    return shapes


def _parse(metadata: dict[str, str], path: Path) -> Card:
    if "msrn" not in metadata:
        raise WeightsError(f"{path} was not published by this program (its metadata has no 'msrn')")
    try:
        values = cast(dict[str, Any], json.loads(metadata["msrn"]))
        version = values["format_version"]
        if version != FORMAT_VERSION:
            raise WeightsError(f"{path} has format version {version}; this program reads {FORMAT_VERSION}")
        card = cast(dict[str, Any], values["card"])
        found = Card(config=MSRNConfig(**card.pop("config")), levels=tuple(card.pop("levels")), **card)
        numbers = [*found.ranges.values(), *(loss for each in found.losses.values() for loss in each.values())]
        if found.task not in get_args(Task) or not all(math.isfinite(number) for number in numbers):
            raise ValueError("no such task, or a loss or range that is no number")
        return found
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, UsageError) as error:
        raise WeightsError(f"{path} has a damaged card: {error!r}") from error


def _check(arrays: Mapping[str, NDArray[Any]], config: MSRNConfig, name: str) -> None:
    """Raise :class:`WeightsError` unless these are a network's tensors, all of them and nothing else."""
    # Before anything of the size that a file claims is made.
    if config.memory_blocks * config.applications > len(arrays):
        raise WeightsError(f"{name} lacks tensors: {len(arrays)} are too few for {config.shape}")
    expected = tensors_of(config)
    for key in sorted(expected.keys() ^ arrays.keys()):
        has = f"has a tensor {key} that its network does not" if key in arrays else f"lacks the tensor {key}"
        raise WeightsError(f"{name} {has}")
    for key, array in sorted(arrays.items()):
        if array.shape != expected[key]:
            raise WeightsError(f"{name}: {key} has shape {array.shape}, expected {expected[key]}")
        types = ("int64",) if key.endswith("num_batches_tracked") else ("float16", "float32")
        if array.dtype not in types:
            raise WeightsError(f"{name}: {key} is {array.dtype}, expected {' or '.join(types)}")
        if not np.isfinite(array).all():
            raise WeightsError(f"{name}: {key} holds values that are not finite")
        if key.endswith("running_var") and (array < 0).any():
            raise WeightsError(f"{name}: {key} holds variances below zero")
