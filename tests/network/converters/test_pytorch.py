"""Checkpoints of the original MSRN-PyTorch, written as it writes them, against an independent forward pass."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msrn.errors import UsageError, WeightsError
from msrn.network.converters import convert
from msrn.network.graph import fuse
from msrn.network.memnet import build
from msrn.network.weights import load, save
from msrn.restoration.backends import Choice, Processor, create

State = dict[str, Tensor]


def original(blocks: int, units: int, width: int = 64) -> State:
    """A state of that network under its names, filled with random numbers."""
    draw = torch.Generator().manual_seed(7)
    state: State = {}

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels, generator=draw) + 0.5
        state[f"{name}.bias"] = torch.randn(channels, generator=draw) * 0.2
        state[f"{name}.running_mean"] = torch.randn(channels, generator=draw) * 0.2
        state[f"{name}.running_var"] = torch.rand(channels, generator=draw) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    def convolution(name: str, out: int, channels: int, side: int) -> None:
        state[f"{name}.weight"] = torch.randn(out, channels, side, side, generator=draw) * 0.05

    norm("feature_extractor.0", 3)
    convolution("feature_extractor.2", width, 3, 3)
    for m in range(blocks):
        block = f"dense_memory_blocks.{m}"
        for u in range(units):
            unit = f"{block}.recursive_unit.{u}.residual_block"
            norm(f"{unit}.0", width)
            convolution(f"{unit}.2", width, width, 3)
            norm(f"{unit}.3", width)
            convolution(f"{unit}.5", width, width, 3)
        norm(f"{block}.gate_unit.0", width * (units + m + 1))
        convolution(f"{block}.gate_unit.2", width, width * (units + m + 1), 1)
    norm("reconstructor.0", width)
    convolution("reconstructor.2", 3, width, 1)
    return state


def forward(state: State, x: Tensor, blocks: int, units: int) -> Tensor:
    """What that network computes, written from its description: unshared units applied R times, 1×1 at the end."""

    def layer(x: Tensor, norm: str, convolution: str) -> Tensor:
        parts = [state[f"{norm}.{leaf}"].double() for leaf in ("running_mean", "running_var", "weight", "bias")]
        weight = state[f"{convolution}.weight"].double()
        return F.conv2d(F.relu(F.batch_norm(x, *parts)), weight, padding=weight.shape[-1] // 2)

    memories = [layer(x, "feature_extractor.0", "feature_extractor.2")]
    for m in range(blocks):
        block, hidden, short = f"dense_memory_blocks.{m}", memories[-1], []
        for _ in range(units):
            for u in range(units):
                unit = f"{block}.recursive_unit.{u}.residual_block"
                hidden = hidden + layer(layer(hidden, f"{unit}.0", f"{unit}.2"), f"{unit}.3", f"{unit}.5")
            short.append(hidden)
        state["_memories"] = torch.cat([*short, *memories], 1)
        memories.append(layer(state.pop("_memories"), f"{block}.gate_unit.0", f"{block}.gate_unit.2"))
    return x + layer(memories[-1], "reconstructor.0", "reconstructor.2")


def checkpoint(path: Path, state: State, **more: Any) -> Path:
    torch.save({"epoch": 3, "best_psnr": 31.5, "best_ssim": 0.9, "state_dict": state, "optimizer": {}, **more}, path)
    return path


def converted(path: Path) -> Any:
    return convert(path, "sr", (2.0,), "full", "unknown", "unknown")


@pytest.mark.parametrize(("blocks", "units"), [(2, 3), (1, 1)])
def test_it_computes_what_the_original_does(tmp_path: Path, blocks: int, units: int) -> None:
    state = original(blocks, units, width=8)
    weights = converted(checkpoint(tmp_path / "epoch_3.pth.tar", state))
    config = weights.card.config
    assert (config.memory_blocks, config.recursions, config.units, config.in_channels) == (blocks, units, units, 3)
    x = torch.rand(2, 3, 9, 12).double()
    expected = forward(state, x, blocks, units)
    assert float((build(weights).double()(x) - expected).abs().max()) < 1e-6

    saved = load(save(weights, tmp_path, "original"))
    graph = fuse(saved.card.config, saved.arrays)
    planes = x.float().numpy()
    residual = create(Choice("openvino", "fp32"), graph, {}, Processor())(planes)
    assert float(np.abs(residual + planes - expected.numpy()).max()) < 1e-4


def test_the_averaged_network_is_taken(tmp_path: Path) -> None:
    state, average = original(1, 1, width=4), original(1, 1, width=4)
    average["reconstructor.2.weight"] = average["reconstructor.2.weight"] + 1
    wrapped = {f"module.{key}": tensor for key, tensor in average.items()} | {"n_averaged": torch.tensor(5)}
    weights = converted(checkpoint(tmp_path / "a.pth.tar", state, ema_state_dict=wrapped))
    assert np.array_equal(weights.arrays["reconstruct.weight"][:, :, 1:2, 1:2], average["reconstructor.2.weight"])


def test_nothing_is_executed(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "bad.pth.tar"
    path.write_bytes(pickle.dumps({"state_dict": Harmful()}, protocol=2))
    with pytest.raises(WeightsError, match="more than tensors"):
        converted(path)
    torch.save({"state_dict": Harmful()}, path)
    with pytest.raises(WeightsError, match="more than tensors"):
        converted(path)
    assert not (tmp_path / "executed").exists()


def test_other_networks_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not of a network that is known"):
        converted(checkpoint(tmp_path / "a.pth", nn.Conv2d(1, 1, 3).state_dict()))
    state = original(1, 2, width=4)
    del state["dense_memory_blocks.0.recursive_unit.1.residual_block.5.weight"]
    with pytest.raises(WeightsError, match=r"recursive_unit\.1\.residual_block\.5\.weight"):
        converted(checkpoint(tmp_path / "a.pth", state))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="no network"):
        converted(tmp_path / "list.pth")
    (tmp_path / "a.bin").touch()
    with pytest.raises(UsageError, match=r"neither a \.caffemodel nor"):
        converted(tmp_path / "a.bin")
