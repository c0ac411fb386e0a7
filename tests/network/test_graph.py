"""The inference graph computes the same function as the network."""

import numpy as np
import pytest
import torch
from tests.helpers.networks import by_graph, fused, random_network

from msrn.network.config import MSRNConfig
from msrn.network.graph import fuse
from msrn.network.memnet import arrays_of

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
    assert torch.allclose(by_graph(fused(network), x), network(x), atol=1e-12, rtol=0)


def test_fusing_leaves_the_arrays_and_the_input_alone():
    network = random_network(MSRNConfig(2, 2, 4))
    arrays = arrays_of(network)
    x = torch.rand(1, 1, 8, 8)
    kept = x.clone()
    by_graph(fuse(network.config, arrays), x)
    assert torch.equal(x, kept)
    assert all(np.array_equal(array, arrays_of(network)[key]) for key, array in arrays.items())


def test_half_precision_weights_are_computed_in_single_precision():
    network = random_network(MSRNConfig(2, 1, 4))
    arrays = {key: array.astype(np.float16) if array.ndim == 4 else array for key, array in arrays_of(network).items()}
    graph = fuse(network.config, arrays)
    assert graph.extract.weight.dtype == graph.blocks[0].first[0].weight.dtype == np.float32
    x = torch.rand(1, 1, 8, 8)
    assert torch.allclose(by_graph(graph, x), network(x), atol=1e-2)
