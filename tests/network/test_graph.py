"""The inference graph computes the same function as the network."""

import copy

import pytest
import torch
from tests.helpers.networks import random_network

from msrn.network.config import MSRNConfig
from msrn.network.graph import fuse

SHAPES = [
    MSRNConfig(1, 1, 3),
    MSRNConfig(2, 3, 4),
    MSRNConfig(4, 1, 8),
    MSRNConfig(3, 2, 5, in_channels=3),
    MSRNConfig(3, 2, 4, multi_supervised=False),
    MSRNConfig(2, 1, 4, unshuffle=2),
    MSRNConfig(1, 2, 4, in_channels=3, unshuffle=3),
]


@pytest.mark.parametrize("config", SHAPES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (13, 10)])
def test_fused_equals_plain_in_double_precision(config, size):
    network = random_network(config, seed=4).double()
    if config.multi_supervised:
        network.ensemble.copy_(torch.linspace(-0.3, 0.9, config.memory_blocks))
    x = torch.rand(2, config.in_channels, *size, dtype=torch.double)
    assert torch.allclose(fuse(network)(x), network(x), atol=1e-12, rtol=0)


def test_fusing_leaves_the_network_and_its_input_alone():
    network = random_network(MSRNConfig(2, 2, 4))
    before = copy.deepcopy(network.state_dict())
    x = torch.rand(1, 1, 8, 8)
    kept = x.clone()
    fuse(network)(x)
    assert torch.equal(x, kept)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key])


def test_the_graph_can_be_moved_and_cast():
    fused = fuse(random_network(MSRNConfig(2, 1, 4))).to(torch.bfloat16)
    assert fused(torch.rand(1, 1, 8, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_casting_the_graph_leaves_the_network_alone():
    network = random_network(MSRNConfig(2, 1, 4))
    fuse(network).to(torch.bfloat16)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
