"""The graph that training compiles computes what the network computes: outputs, gradients and running statistics."""

import copy
import itertools
import shutil

import pytest
import torch
from tests.test_network import SHAPES
from tests.tools import random_network

from msrn.lean import _moments, all_outputs, compile_training
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


@pytest.mark.parametrize(
    ("config", "training"), list(itertools.product([*SHAPES, MSRNConfig(2, 1, 4, unshuffle=2)], (False, True)))
)
def test_the_lean_graph_is_the_network_in_double_precision(config, training):
    plain, lean, x, clean = pair(config, training, torch.double)
    expected = both(plain, plain.all_outputs, x, clean)
    found = both(lean, lambda batch: all_outputs(lean, batch), x, clean)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-11), name


def test_the_moments_of_a_bright_flat_picture_do_not_cancel():
    plain, lean, x, _ = pair(MSRNConfig(1, 1, 3), True, torch.float32)
    flat = 100 + 0.01 * x
    expected, found = (f(flat).ensemble for f in (plain.all_outputs, lambda batch: all_outputs(lean, batch)))
    assert torch.allclose(found, expected, rtol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # the compiler's own
@pytest.mark.skipif(not shutil.which("c++"), reason="compiles C++")
@pytest.mark.parametrize("training", [False, True])
def test_compiled_it_agrees_to_the_gradient_and_counts_batches(training):
    """Compilation has changed gradients here: a buffer was updated in the graph and read by its backward pass."""
    plain, lean, x, clean = pair(MSRNConfig(2, 1, 2), training, torch.double)
    expected = both(plain, plain.all_outputs, x, clean)
    found = both(lean, compile_training(lean), x, clean)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-11), name
    assert lean.extract_norm.num_batches_tracked == plain.extract_norm.num_batches_tracked


def test_moments_of_bf16_are_taken_in_single_precision():
    x = (5 + torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))).to(torch.bfloat16)
    mean, variance = _moments(x)
    assert mean.dtype == variance.dtype == torch.float32
    assert torch.allclose(mean, x.double().mean((0, 2, 3)).float(), rtol=1e-5)
