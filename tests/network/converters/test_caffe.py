"""Files written as Caffe writes them, by a writer of the tests' own, equal layer by layer to Caffe's arithmetic."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from msrn.errors import WeightsError
from msrn.network.converters import convert
from msrn.network.memnet import build

Layers = dict[str, list[NDArray[np.float32]]]


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(array: NDArray[Any], old: bool) -> bytes:
    data = field(5, array.astype("<f4").tobytes())
    if old:
        sides = (1,) * (4 - array.ndim) + array.shape
        return b"".join(varint(number << 3) + varint(side) for number, side in enumerate(sides, 1)) + data
    return field(7, field(1, b"".join(map(varint, array.shape)))) + data


def caffemodel(layers: Layers, old: bool = False) -> bytes:
    """NetParameter: a name, then layers; each with its name, type, an unknown field, and its blobs."""
    net = field(1, b"MemNet")
    for name, arrays in layers.items():
        kind = b"BatchNorm" if name.startswith("bn_") else b"Convolution"
        body = field(1, name.encode()) + field(2, kind) + field(3, b"data") + varint(10 << 3) + varint(1)
        net += field(100, body + b"".join(field(7, blob(array, old)) for array in arrays))
    return net


def memnet(blocks: int, recursions: int, channels: int = 4, shared: bool = True) -> Layers:
    """The authors' layers by their names, filled with random numbers."""
    rng = np.random.default_rng(blocks * 10 + recursions)
    layers: Layers = {}

    def values(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0, 0.15, shape).astype(np.float32)

    def convolution(name: str, out: int, width: int, side: int) -> None:
        layers[name] = [values(out, width, side, side), values(out)]

    def norm(name: str, width: int) -> None:
        factor = np.float32([rng.uniform(1, 900)])
        layers[f"bn_{name}"] = [values(width) * factor, (np.abs(values(width)) + 0.5) * factor, factor]
        layers[f"scale_{name}"] = [values(width) + 1, values(width)]

    norm("conv1", 1)
    convolution("conv1", channels, 1, 3)
    for m in range(1, blocks + 1):
        for r in range(1, recursions + 1):
            for letter in "ab":
                name = f"conv{m:02}_{r:02}_{letter}"
                norm(name, channels)
                if shared and r > 1:
                    layers[name] = layers[f"conv{m:02}_01_{letter}"]
                else:
                    convolution(name, channels, channels, 3)
        norm(f"conv_transition_{m:02}", channels * (m + recursions))
        convolution(f"conv_transition_{m:02}", channels, channels * (m + recursions), 1)
    for m in range(1, blocks + 1):
        norm(f"conv_end_{m:02}", channels)
        if m == 1:
            convolution("conv_end_01", 1, channels, 3)
        layers[f"conv_end_{m:02}"] = layers["conv_end_01"]
        layers[f"weight_output_end_{m:02}"] = [values(1)]
    return layers


def caffe_forward(layers: Layers, x: torch.Tensor, blocks: int, recursions: int) -> dict[str, torch.Tensor]:
    """What Caffe computes, layer after layer as the authors' prototxt lists them; every output by its name."""
    out = {"data": x}

    def convolved(name: str, bottom: str) -> str:
        mean, variance, factor = (torch.from_numpy(array).double() for array in layers[f"bn_{name}"])
        scale, shift = (torch.from_numpy(array).double().view(1, -1, 1, 1) for array in layers[f"scale_{name}"])
        normal = (out[bottom] - (mean / factor).view(1, -1, 1, 1)) / (variance / factor + 1e-5).sqrt().view(1, -1, 1, 1)
        weight, bias = (torch.from_numpy(array).double() for array in layers[name])
        out[name] = F.conv2d(F.relu(normal * scale + shift), weight, bias, padding=weight.shape[-1] // 2)
        return name

    memories = [convolved("conv1", "data")]
    for m in range(1, blocks + 1):
        newest, short = memories[-1], []
        for r in range(1, recursions + 1):
            name = f"eltwise{m:02}_{r:02}"
            a = convolved(f"conv{m:02}_{r:02}_a", newest)
            out[name] = out[newest] + out[convolved(f"conv{m:02}_{r:02}_b", a)]
            newest = name
            short.append(name)
        out[f"concat{m:02}"] = torch.cat([out[name] for name in [*memories, *short]], 1)
        memories.append(convolved(f"conv_transition_{m:02}", f"concat{m:02}"))
    total = torch.zeros_like(x)
    for m in range(1, blocks + 1):
        out[f"HR_recovery_{m:02}"] = x + out[convolved(f"conv_end_{m:02}", f"conv_transition_{m:02}")]
        total = total + out[f"HR_recovery_{m:02}"] * float(layers[f"weight_output_end_{m:02}"][0][0])
    out["HR_recovery"] = total
    return out


def converted(path: Path, data: bytes) -> Any:
    path.write_bytes(data)
    return convert(path, "sr", (2.0, 3.0, 4.0), "studio", "291", "unknown")


@pytest.mark.parametrize(("blocks", "recursions"), [(6, 6), (10, 10), (1, 1)])
@pytest.mark.parametrize("old", [False, True])
def test_layer_by_layer_as_caffe_computes(tmp_path: Path, blocks: int, recursions: int, old: bool) -> None:
    layers = memnet(blocks, recursions)
    weights = converted(tmp_path / "MemNet.caffemodel", caffemodel(layers, old))
    assert weights.card.config.name == f"M{blocks}R{recursions}"
    assert weights.card.config.shared
    x = torch.rand(1, 1, 9, 11, generator=torch.Generator().manual_seed(0)).double()
    expected = caffe_forward(layers, x, blocks, recursions)
    network = build(weights).double()
    seen: dict[str, torch.Tensor] = {}
    for m, block in enumerate(network.blocks, 1):
        block.register_forward_hook(lambda _block, _x, y, name=f"conv_transition_{m:02}": seen.update({name: y}))
    outputs = network.all_outputs(x)
    seen |= {f"HR_recovery_{m:02}": image for m, image in enumerate(outputs.intermediate, 1)}
    seen["HR_recovery"] = outputs.ensemble
    for name, tensor in seen.items():
        scale = float(expected[name].abs().max())
        assert float((tensor - expected[name]).abs().max()) < 1e-5 * max(1.0, scale), name


def test_recursions_with_convolutions_of_their_own(tmp_path: Path) -> None:
    layers = memnet(2, 3, shared=False)
    weights = converted(tmp_path / "MemNet.caffemodel", caffemodel(layers))
    assert not weights.card.config.shared
    x = torch.rand(1, 1, 8, 8).double()
    expected = caffe_forward(layers, x, 2, 3)["HR_recovery"]
    assert torch.allclose(build(weights).double()(x), expected, rtol=1e-4, atol=1e-5)


def test_a_factor_of_zero_is_no_statistics(tmp_path: Path) -> None:
    layers = memnet(1, 1)
    layers["bn_conv1"][2] = np.float32([0])
    weights = converted(tmp_path / "MemNet.caffemodel", caffemodel(layers))
    assert weights.arrays["extract_norm.running_mean"] == weights.arrays["extract_norm.running_var"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: layers.pop("conv_transition_01"), "no layer 'conv_transition_01'"),
        (lambda layers: layers.pop("bn_conv1"), "no layer 'bn_conv1'"),
        (lambda layers: layers.update(conv1=layers["conv1"][:1]), "damaged"),
        (lambda layers: layers.update(conv_end_02=[array + 1 for array in layers["conv_end_01"]]), "of their own"),
        (lambda layers: layers.update({"conv99_99_a": layers["conv01_01_a"]}), "too few"),
        (lambda layers: layers.clear(), "holds no weights"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: Any, message: str) -> None:
    layers = memnet(2, 1)
    change(layers)
    with pytest.raises(WeightsError, match=message):
        converted(tmp_path / "MemNet.caffemodel", caffemodel(layers))


def test_damaged_files(tmp_path: Path) -> None:
    data = caffemodel(memnet(1, 1))
    for cut in (1, len(data) // 2, len(data) - 1):
        with pytest.raises(WeightsError):
            converted(tmp_path / "MemNet.caffemodel", data[:cut])
    lies = field(
        100, field(1, b"conv1") + field(7, field(7, field(1, varint(1 << 40))) + field(5, struct.pack("<f", 1)))
    )
    with pytest.raises(WeightsError, match="holds 1 values"):
        converted(tmp_path / "MemNet.caffemodel", lies)
    with pytest.raises(WeightsError, match="cannot read"):
        convert(tmp_path / "none.caffemodel", "sr", (2.0,), "studio", "", "")
