"""The authors' Caffe files: ``MemNet_M6R6_80C64.caffemodel``, ``MemNet_M10R10_212C64.caffemodel`` and their kind.

A caffemodel is a protocol buffer: layers by name, each with its blobs. Caffe keeps a BatchNorm as two layers,
the statistics (``BatchNorm``) and the affine part (``Scale``), and the statistics as sums, with the factor to
divide them by as a third blob. Convolutions that share weights are written once for each layer that uses them.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from numpy.typing import NDArray

from msrn.errors import WeightsError
from msrn.network.config import MSRNConfig
from msrn.network.weights import tensors_of

Layers = dict[str, list[NDArray[Any]]]
"""The blobs of each layer, by the layer's name."""


def read(path: Path) -> tuple[MSRNConfig, dict[str, NDArray[Any]]]:
    """Return the network in a caffemodel.

    Recursions whose convolutions are equal become the paper's shared ones; where they differ, each keeps its own
    (``config.shared`` is False).

    Raises:
        WeightsError: the file is damaged, or a layer is missing or of another shape.
    """
    layers = _layers(path)
    try:
        return _network(layers)
    except KeyError as error:
        raise WeightsError(f"{path} is no MemNet of the authors: it has no layer {error}") from error
    except (IndexError, ValueError) as error:
        raise WeightsError(f"{path} is damaged: {error}") from error


def _network(layers: Layers) -> tuple[MSRNConfig, dict[str, NDArray[Any]]]:
    """Rename the blobs; raises KeyError for the first layer that is missing."""
    units = [re.fullmatch(r"conv(\d+)_(\d+)_a", name) for name in layers]
    numbers = [(int(unit[1]), int(unit[2])) for unit in units if unit]
    if not numbers:
        raise KeyError("conv01_01_a")
    blocks, recursions = (max(number) for number in zip(*numbers, strict=True))
    if blocks * recursions > len(layers):
        raise ValueError(f"{len(layers)} layers are too few for {blocks} blocks of {recursions} recursions")
    channels, depth = layers["conv1"][0].shape[:2]

    sources = {"extract": "conv1", "extract_norm": "conv1", "reconstruct": "conv_end_01"}
    own: dict[str, str] = {}
    shared = True
    for m in range(1, blocks + 1):
        ours = f"blocks.{m - 1}"
        for letter, place in (("a", "1"), ("b", "2")):
            names = [f"conv{m:02}_{r:02}_{letter}" for r in range(1, recursions + 1)]
            sources |= {f"{ours}.norm{place}.{r}": name for r, name in enumerate(names)}
            own |= {f"{ours}.conv{place}.{r}": name for r, name in enumerate(names)}
            sources[f"{ours}.conv{place}"] = names[0]
            shared &= all(_equal(layers[names[0]], layers[name]) for name in names)
        sources |= {f"{ours}.gate": f"conv_transition_{m:02}", f"{ours}.gate_norm": f"conv_transition_{m:02}"}
        sources[f"reconstruct_norm.{m - 1}"] = f"conv_end_{m:02}"
        if not _equal(layers["conv_end_01"], layers[f"conv_end_{m:02}"]):
            raise ValueError("its outputs have reconstructions of their own")

    config = MSRNConfig(blocks, recursions, channels, depth, shared=shared)
    sources |= {} if shared else own
    arrays = {"ensemble": np.array([layers[f"weight_output_end_{m:02}"][0].item() for m in range(1, blocks + 1)])}
    for key in tensors_of(config):
        name, _, leaf = key.rpartition(".")
        if leaf == "num_batches_tracked":
            arrays[key] = np.array(0, np.int64)
        elif key != "ensemble":
            read_leaf = _norm if "norm" in name else _convolution
            arrays[key] = read_leaf(layers, sources[name], leaf)
    return config, {
        key: np.asarray(array, np.int64 if array.dtype == np.int64 else np.float32) for key, array in arrays.items()
    }


def _convolution(layers: Layers, name: str, leaf: str) -> NDArray[Any]:
    weight, bias = layers[name]
    return weight if leaf == "weight" else bias.reshape(-1)


def _norm(layers: Layers, name: str, leaf: str) -> NDArray[Any]:
    """One array of torch's BatchNorm from Caffe's pair of layers."""
    if leaf in ("weight", "bias"):
        scale, shift = layers[f"scale_{name}"]
        return (scale if leaf == "weight" else shift).reshape(-1)
    mean, variance, factor = layers[f"bn_{name}"]
    divisor = factor.item()
    sums = (mean if leaf == "running_mean" else variance).reshape(-1).astype(np.float64)
    return sums / divisor if divisor else sums * 0.0  # as Caffe does it


def _equal(one: list[NDArray[Any]], other: list[NDArray[Any]]) -> bool:
    return all(np.array_equal(mine, its) for mine, its in zip(one, other, strict=True))


def _layers(path: Path) -> Layers:
    net = _message_type()()
    try:
        net.ParseFromString(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    except message.DecodeError as error:
        raise WeightsError(f"{path} is no caffemodel, or is damaged: {error}") from error
    layers = {
        (name := layer.name.decode(errors="replace")): [_array(blob, path, name) for blob in layer.blobs]
        for layer in net.layer
        if layer.blobs
    }
    if not layers:
        raise WeightsError(f"{path} is no caffemodel, or holds no weights")
    return layers


def _array(blob: Any, path: Path, name: str) -> NDArray[Any]:
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)
    values = np.array(blob.data or blob.double_data, np.float32)
    if any(side < 0 for side in shape) or values.size != np.prod(shape, dtype=object):
        raise WeightsError(f"{path} is damaged: layer {name} says {shape} and holds {values.size} values")
    return values.reshape(shape)


def _message_type() -> Any:
    """The part of Caffe's format that holds weights; other fields are skipped."""
    file = descriptor_pb2.FileDescriptorProto(name="msrn_caffe.proto", package="msrn_caffe", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED

    def add(name: str, *fields: tuple[str, int, Any, Any]) -> None:
        made = file.message_type.add(name=name)
        for field, number, kind, label in fields:
            entry = made.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                entry.type, entry.type_name = kinds.TYPE_MESSAGE, f".msrn_caffe.{kind}"
            else:
                entry.type = kind
                # Numbers are written packed or one by one, and read either way.
                entry.options.packed = label == many

    old = [
        (side, number, kinds.TYPE_INT32, one) for number, side in enumerate(("num", "channels", "height", "width"), 1)
    ]
    add("BlobShape", ("dim", 1, kinds.TYPE_INT64, many))
    add(
        "Blob",
        *old,
        ("data", 5, kinds.TYPE_FLOAT, many),
        ("shape", 7, "BlobShape", one),
        ("double_data", 8, kinds.TYPE_DOUBLE, many),
    )
    add("Layer", ("name", 1, kinds.TYPE_BYTES, one), ("blobs", 7, "Blob", many))
    add("Net", ("layer", 100, "Layer", many))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("msrn_caffe.Net"))
