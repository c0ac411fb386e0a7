"""The graph that trains on processors computes what the network does: outputs, gradients and running statistics."""

import copy
import itertools
import shutil
import subprocess
import sys

import pytest
import torch
from tests.test_network import SHAPES
from tests.tools import random_network
from torch import nn
from torch.nn import functional as F

from msrn import kernels
from msrn.kernels import build
from msrn.lean import all_outputs
from msrn.network import MSRNConfig
from msrn.objective import objective
from msrn.recipe import LossRecipe

needs_compiler = pytest.mark.skipif(sys.platform != "linux" or not shutil.which("c++"), reason="compiles C++")


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
def test_the_moments_of_a_bright_flat_map_do_not_cancel():
    x = 100 + 0.01 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    _, variance = kernels.moments(x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(variance.double(), x.double().var((0, 2, 3), correction=0), rtol=1e-3)


def maps(dtype, channels=24):
    """Several maps of more than one block of rows, far from zero."""
    rng = torch.Generator().manual_seed(0)
    return [
        (3 + k + torch.randn(3, channels, 17, 13, generator=rng)).to(dtype).to(memory_format=torch.channels_last)
        for k in range(3)
    ]


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_moments_are_single_precision_and_those_of_the_sum(dtype):
    x, y, _ = maps(dtype)
    total, (mean, variance) = kernels.add(x, y)
    assert torch.equal(total, x + y)
    assert mean.dtype == variance.dtype == torch.float32
    assert torch.allclose(mean.double(), total.double().mean((0, 2, 3)), rtol=1e-6)
    assert torch.allclose(variance.double(), total.double().var((0, 2, 3), correction=0), rtol=1e-4)


@needs_compiler
@pytest.mark.parametrize("training", [False, True])
def test_in_bf16_only_what_is_stored_is_rounded(training):
    """Forward and backward are those of the same maps in double precision, rounded once."""
    rng = torch.Generator().manual_seed(1)
    given = [x.requires_grad_() for x in maps(torch.bfloat16)]
    ours = nn.BatchNorm2d(72).train(training)
    weight, bias = (nn.init.normal_(each, generator=rng) for each in (ours.weight, ours.bias))
    statistics = [kernels.moments(x.detach()) for x in given]
    y, same = kernels.norm_relu(given, statistics, ours)
    gradient = torch.randn(y.shape, generator=rng).to(torch.bfloat16)
    (y * gradient).sum().backward(retain_graph=True)
    after = [x.grad.clone() for x in given]
    ((y * gradient).float().sum() + sum(x.float().sum() for x in same)).backward()  # a second reader adds ones

    exact = [x.detach().double().requires_grad_() for x in given]
    norm = [part.detach().double().requires_grad_() for part in (weight, bias)]
    mean, variance = (torch.cat(part).double() for part in zip(*statistics, strict=True))
    joined = torch.cat(exact, dim=1)
    reference = F.relu(F.batch_norm(joined, mean.clone(), variance.clone(), *norm, training, 0.1, 1e-5))
    reference.backward(gradient.double())
    assert torch.allclose(y.double(), reference, rtol=2**-8, atol=1e-5)
    for x, both_readers, one, expected in zip(given, given, after, exact, strict=True):
        assert x.grad.dtype == torch.bfloat16
        assert torch.allclose(one.double(), expected.grad, rtol=2**-7, atol=1e-3)
        assert torch.allclose((both_readers.grad - one).double(), 1 + expected.grad, rtol=2**-6, atol=2e-2)
    for found, expected in zip((weight, bias), norm, strict=True):
        assert torch.allclose(found.grad.double(), 2 * expected.grad, rtol=1e-3, atol=1e-2)


@needs_compiler
def test_nothing_depends_on_the_number_of_threads():
    def everything(threads):
        torch.set_num_threads(threads)
        x = maps(torch.bfloat16)[0].requires_grad_()
        norm = nn.BatchNorm2d(24)
        y, _ = kernels.norm_relu([x], [kernels.moments(x.detach())], norm)
        y.square().sum().backward()
        return y, x.grad, norm.weight.grad, norm.bias.grad

    before = torch.get_num_threads()
    try:
        assert all(map(torch.equal, everything(1), everything(3)))
    finally:
        torch.set_num_threads(before)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_is_not_finite_stays_so(dtype):
    x = maps(dtype)[0]
    x[1, 2, 3, 4] = torch.nan
    mean, variance = kernels.moments(x)
    assert mean.isnan().tolist() == variance.isnan().tolist() == [channel == 2 for channel in range(24)]
    y, _ = kernels.norm_relu([x], [(torch.zeros(24), torch.ones(24))], nn.BatchNorm2d(24).eval())
    assert y.isnan().sum() == 1


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """Kernels that are not loaded yet, with a cache folder of their own."""
    monkeypatch.setenv("MSRN_CACHE", str(tmp_path))
    build.library.cache_clear()
    yield tmp_path
    build.library.cache_clear()


def test_without_a_compiler_torch_computes(anew, monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with caplog.at_level("INFO"):
        assert not kernels.available(torch.float32)
    assert "no-such-compiler" in caplog.text


@needs_compiler
def test_a_damaged_file_is_compiled_again(anew):
    assert kernels.available(torch.float32)
    (kept,) = anew.iterdir()
    whole = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(whole[:1000])
    code = "import torch; from msrn import kernels; print(kernels.available(torch.float32))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"
    assert kept.stat().st_size == len(whole)


@needs_compiler
def test_a_cache_that_cannot_be_written_is_done_without(anew, monkeypatch, caplog):
    monkeypatch.setenv("MSRN_CACHE", str(anew / "a file"))
    (anew / "a file").touch()
    with caplog.at_level("INFO"):
        assert kernels.available(torch.float32)
    assert "cannot be kept" in caplog.text
