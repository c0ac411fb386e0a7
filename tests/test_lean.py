"""The graph that trains on processors computes what the network does: outputs, gradients and running statistics."""

import copy
import itertools

import pytest
import torch
from tests.test_network import SHAPES
from tests.tools import needs_compiler, random_network

from msrn.lean import all_outputs
from msrn.network import MSRNConfig
from msrn.objective import objective
from msrn.recipe import LossRecipe


def both(network, forward, x, clean):
    """Loss, gradients and buffers after one pass."""
    outputs = forward(x)
    loss = objective(outputs, clean, LossRecipe(kind="l2", intermediate_weight=0.3))
    loss.backward()
    assert len(outputs.intermediate) == len(network.reconstruct_norm)
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    buffers = {name: buffer for name, buffer in network.named_buffers() if buffer.is_floating_point()}
    return {"ensemble": outputs.ensemble, "last": outputs.intermediate[-1]} | gradients | buffers


def pair(config, training, dtype):
    plain = random_network(config, seed=3).to(dtype).train(training).requires_grad_(True)
    rng = torch.Generator().manual_seed(1)
    shape = (3, config.in_channels, 9, 11)
    x, clean = (torch.rand(shape, generator=rng, dtype=torch.double).to(dtype) for _ in range(2))
    return plain, copy.deepcopy(plain), x + 1, clean  # means far from zero


@needs_compiler
@pytest.mark.parametrize(
    ("config", "training"), list(itertools.product([*SHAPES, MSRNConfig(2, 1, 4, unshuffle=2)], (False, True)))
)
def test_the_lean_graph_is_the_network_in_double_precision(config, training):
    plain, lean, x, clean = pair(config, training, torch.double)
    expected = both(plain, plain.all_outputs, x, clean)
    found = both(lean, lambda batch: all_outputs(lean, batch), x, clean)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-11), name
    counts = [[b for name, b in each.named_buffers() if name.endswith("tracked")] for each in (plain, lean)]
    assert counts[0] == counts[1]


@needs_compiler
def test_a_loss_may_read_some_of_the_images_only():
    plain, lean, x, _ = pair(MSRNConfig(2, 1, 4), True, torch.double)
    plain.all_outputs(x).intermediate[0].square().sum().backward()
    all_outputs(lean, x).intermediate[0].square().sum().backward()
    for expected, found in zip(plain.parameters(), lean.parameters(), strict=True):
        assert expected.grad is None or torch.allclose(found.grad, expected.grad, rtol=1e-9, atol=1e-11)
