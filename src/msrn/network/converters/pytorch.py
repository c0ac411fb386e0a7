"""Checkpoints of PyTorch implementations, read with torch's loader of weights only: nothing in them is executed.

The original MSRN-PyTorch (``MemNet-PyTorch``) has another network than the paper, and it is kept as it is:

* three channels, R, G and B together, instead of luminance;
* a recursive unit of R residual units with convolutions of their own, applied R times (``config.units``), so that a
  block applies R² units where the paper applies R;
* the same BatchNorms in all recursions;
* one output, from the last block, through a 1×1 convolution;
* no biases, and short-term memories first in the gate.

What it computes is what the converted network computes; only its cut at 0 and 1 is left to whoever writes the image.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from msrn.errors import WeightsError
from msrn.network.config import MSRNConfig
from msrn.network.weights import tensors_of

Arrays = dict[str, NDArray[Any]]


def read(path: Path) -> tuple[MSRNConfig, Arrays]:
    """Return the network in a checkpoint of the original MSRN-PyTorch; the averaged one where it has both.

    Raises:
        WeightsError: the file is damaged, holds more than tensors and numbers, or another network.
    """
    state = {key: tensor.detach().cpu().numpy() for key, tensor in _state(path).items()}
    try:
        return _original(state)
    except KeyError as error:
        raise WeightsError(f"{path} is not of a network that is known: it has no tensor {error}") from error


def _state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the network, whatever they are wrapped in."""
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:  # whose message advises to unpickle what nobody should
        raise WeightsError(f"{path} is damaged, or holds more than tensors and numbers, and is not opened") from error
    except Exception as error:  # at damaged bytes, torch raises whatever it happens to meet
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path} is damaged, or holds more than tensors and numbers: {reason}") from error
    for wrapper in ("ema_state_dict", "state_dict", "params_ema", "params", "model"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):  # pyright: ignore[reportUnknownMemberType]
            found = found[wrapper]
            break
    if not isinstance(found, dict) or not found:
        raise WeightsError(f"{path} holds no network")
    tensors = {str(key): value for key, value in found.items() if isinstance(value, torch.Tensor)}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
    return {key.removeprefix("module."): value for key, value in tensors.items() if key != "n_averaged"}


def _original(state: Arrays) -> tuple[MSRNConfig, Arrays]:
    """Rename the tensors of MemNet-PyTorch; raises KeyError for the first that is missing."""
    found = [re.match(r"dense_memory_blocks\.(\d+)\.recursive_unit\.(\d+)\.", key) for key in state]
    numbers = [(int(match[1]), int(match[2])) for match in found if match]
    if not numbers:
        raise KeyError("dense_memory_blocks.0.recursive_unit.0.residual_block.0.weight")
    blocks, units = (max(number) + 1 for number in zip(*numbers, strict=True))
    channels, depth = state["feature_extractor.2.weight"].shape[:2]
    config = MSRNConfig(blocks, units, channels, depth, multi_supervised=False, units=units)

    arrays: Arrays = {}
    for key, shape in tensors_of(config).items():
        name, _, leaf = key.rpartition(".")
        array = state[source] if (source := f"{_source(name, units)}.{leaf}") in state else None
        if array is None and leaf not in ("bias", "num_batches_tracked"):
            raise KeyError(source)
        if array is None:  # a convolution without bias
            array = np.zeros(shape, np.int64 if leaf == "num_batches_tracked" else np.float32)
        if ".gate" in name and array.ndim:
            array = _long_term_first(array, units * channels)
        if key == "reconstruct.weight":
            array = np.pad(array, [(0, 0), (0, 0)] + [((3 - side) // 2,) * 2 for side in array.shape[2:]])
        arrays[key] = array.astype(np.int64 if leaf == "num_batches_tracked" else np.float32)
    return config, arrays


def _source(name: str, units: int) -> str:
    """What MemNet-PyTorch calls a layer of ours."""
    ends = {"extract_norm": "feature_extractor.0", "extract": "feature_extractor.2"}
    ends |= {"reconstruct_norm.0": "reconstructor.0", "reconstruct": "reconstructor.2"}
    if name in ends:
        return ends[name]
    _, block, layer, *number = name.split(".")
    if layer.startswith("gate"):
        return f"dense_memory_blocks.{block}.gate_unit.{0 if layer == 'gate_norm' else 2}"
    place = {"norm1": 0, "conv1": 2, "norm2": 3, "conv2": 5}[layer]
    unit = int(number[0]) % units if number else 0
    return f"dense_memory_blocks.{block}.recursive_unit.{unit}.residual_block.{place}"


def _long_term_first(array: NDArray[Any], short: int) -> NDArray[Any]:
    """Reorder what a gate reads: the ``short`` first channels are those of the recursions, and belong last."""
    axis = 1 if array.ndim == 4 else 0
    if array.shape[axis] <= short:
        return array  # the gate's own bias
    first, rest = np.split(array, [short], axis)
    return np.concatenate([rest, first], axis)
