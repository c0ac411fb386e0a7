"""Weights files: one network each, in safetensors, that rebuilds itself from its own metadata.

The file name ends in the first eight hex digits of the file's SHA-256; the digits are checked whenever they
are there. Loading is strict: every tensor must be present, of the right shape, and nothing else. Nothing is
ever unpickled.

Torch is needed for the network only, not for what a file says of itself: enlarging by a kept model starts without it.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as read_arrays

from msrn.errors import UsageError, WeightsError
from msrn.network.catalogue import CATALOGUE, find
from msrn.network.config import MSRNConfig
from msrn.system.atomic import write_atomically
from msrn.types import Range, Task

if TYPE_CHECKING:
    from msrn.network.memnet import MSRN

FORMAT_VERSION = 1
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


class Weights:
    """A network in evaluation mode, with its card, and the file's SHA-256.

    Args:
        network: the network; None leaves it to be built from ``data`` when it is first asked for.
        card: what it says of itself.
        sha256: of the file.
        name: for messages.
        data: the file's content, where the network is what it holds.
    """

    def __init__(self, network: "MSRN | None", card: Card, sha256: str, name: str, data: bytes | None = None) -> None:
        self.card, self.sha256, self.name, self._data = card, sha256, name, data
        if network is not None:
            self.network = network

    @cached_property
    def network(self) -> "MSRN":
        """The network itself; changing its tensors is allowed."""
        import torch

        from msrn.network.memnet import MSRN

        arrays = self._arrays
        _check(arrays, self.card.config, self.name)
        network = MSRN(self.card.config)
        network.load_state_dict({key: torch.from_numpy(array.copy()) for key, array in arrays.items()})
        return network.eval().requires_grad_(False)

    @property
    def skip(self) -> float:
        """What the network multiplies its input by before it adds the residual: the sum of the ensemble's weights."""
        if not self.card.config.multi_supervised:
            return 1.0
        ensemble = self.network.ensemble.tolist() if "network" in vars(self) else self._arrays["ensemble"].tolist()
        return sum(ensemble)

    @property
    def storage(self) -> str:
        """The type that the file stores convolutions' weights in; fp32 is computed with either."""
        return "float32" if self._data is None else str(self._arrays["extract.weight"].dtype)

    @property
    def identity(self) -> str:
        """The SHA-256 where it says what the network computes: not of one made or changed by a program."""
        if self._data is None:
            return ""
        if "network" in vars(self):
            state = self.network.state_dict()
            for key, array in self._arrays.items():
                if not np.array_equal(state[key].detach().cpu().double().numpy(), array):
                    return ""
        return self.sha256

    @property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        assert self._data is not None
        try:
            return read_arrays(self._data)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:  # such as types that numpy does not have
            raise WeightsError(f"{self.name} holds tensors that cannot be read: {error!r}") from error


def load(name_or_path: str | Path) -> Weights:
    """Load weights by catalogue name, by task (its default; ``denoise-color`` for colours), or from a file.

    Names may be spelt as the project's (``msrn-m4r1s2-sr``) or the field's (``memnet_m4r1s2_sr``); case and the
    choice of ``-`` or ``_`` do not matter.

    Raises:
        WeightsError: unknown name, missing or damaged file, wrong hash, or tensors that do not fit.
    """
    entry = find(name_or_path)
    if entry is None:
        path = Path(name_or_path)
        if not path.is_file():
            known = ", ".join(row.name for row in CATALOGUE) or "none"
            raise WeightsError(
                f"no weights named {str(name_or_path)!r} and no such file; known are the tasks "
                f"{', '.join(get_args(Task))} (their default weights) and the names {known}"
            )
        return load_file(path)
    with resources.as_file(resources.files("msrn.network") / "embedded" / entry.file) as path:
        weights = load_file(path)
    if weights.sha256 != entry.sha256:
        raise WeightsError(f"the embedded file {entry.file} has been altered; install the package again")
    return weights


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
        raise WeightsError(f"{path} is not a safetensors file: {error}") from error
    weights = Weights(None, _parse(metadata, path), digest, path.stem, data)
    if digest not in {entry.sha256 for entry in CATALOGUE}:  # those were checked when they were published
        _ = weights.network
    return weights


def save(network: "MSRN", card: Card, folder: Path, stem: str) -> Path:
    """Write ``folder/stem-<hash>.safetensors`` and return its path.

    Where float16 holds all convolutions' weights exactly (see :func:`halve`), they are stored so.

    Raises:
        WeightsError: the network and the card disagree, or a tensor is not finite.
        OutputError: the file cannot be written.
    """
    import torch
    from safetensors.torch import save as serialise

    if network.config != card.config:
        raise WeightsError(f"the card describes {card.config}, the network is {network.config}")
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    broken = [key for key, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsError(f"not publishing: {broken[0]} holds values that are not finite")
    halves = {key: tensor.half() for key, tensor in state.items() if tensor.ndim == 4}
    if all(torch.equal(half.float(), state[key]) for key, half in halves.items()):
        state |= halves
    # One key only: safetensors writes several in random order, and the same network must give the same hash.
    data = serialise(state, {"msrn": json.dumps({"format_version": FORMAT_VERSION, "card": asdict(card)})})
    path = folder / f"{stem}-{hashlib.sha256(data).hexdigest()[:8]}.safetensors"
    write: Callable[[Any], object] = lambda file: file.write(data)  # noqa: E731
    write_atomically(path, write)
    return path


def halve(network: "MSRN") -> bool:
    """Round all convolutions' weights to what float16 holds, so that the file takes half as much.

    Returns:
        Whether that changed anything.

    Raises:
        WeightsError: one is too large for that.
    """
    import torch

    changed = False
    for name, weight in network.named_parameters():
        if weight.ndim == 4:
            rounded = weight.detach().half().float()
            if bool((torch.isinf(rounded) & ~torch.isinf(weight)).any()):
                raise WeightsError(f"{name} holds values that are too large for float16")
            changed = changed or not torch.equal(rounded, weight)
            weight.data.copy_(rounded)
    return changed


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


def _check(arrays: dict[str, NDArray[Any]], config: MSRNConfig, name: str) -> None:
    """Raise :class:`WeightsError` unless these are a network's tensors, all of them and nothing else."""
    import torch

    from msrn.network.memnet import MSRN

    # Before anything of the size that a file claims is made.
    if config.memory_blocks * config.recursions > len(arrays):
        raise WeightsError(f"{name} lacks tensors: {len(arrays)} are too few for {config.shape}")
    with torch.device("meta"):
        expected = MSRN(config).state_dict()
    for key in sorted(expected.keys() | arrays.keys()):
        if key not in arrays:
            raise WeightsError(f"{name} lacks the tensor {key}")
        if key not in expected:
            raise WeightsError(f"{name} has a tensor {key} that its network does not")
        array = arrays[key]
        if array.shape != expected[key].shape:
            raise WeightsError(f"{name}: {key} has shape {array.shape}, expected {tuple(expected[key].shape)}")
        types = ("float16", "float32") if expected[key].is_floating_point() else ("int64",)
        if array.dtype not in types:
            raise WeightsError(f"{name}: {key} is {array.dtype}, expected {' or '.join(types)}")
        if not np.isfinite(array).all():
            raise WeightsError(f"{name}: {key} holds values that are not finite")
        if key.endswith("running_var") and (array < 0).any():
            raise WeightsError(f"{name}: {key} holds variances below zero")
