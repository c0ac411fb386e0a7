"""BatchNorm and ReLU in one: exact to what is stored, the same on any number of threads, and never in the way."""

import subprocess
import sys

import pytest
import torch
from tests.tools import needs_compiler
from torch import nn
from torch.nn import functional as F

from msrn import kernels
from msrn.kernels import build


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
    norm = nn.BatchNorm2d(24).eval()
    norm.bias.data.view(torch.int32)[3] = 0x7FFFFFFF  # a NaN that rounding up would make a zero
    y, _ = kernels.norm_relu([maps(dtype)[0]], [(torch.zeros(24), torch.ones(24))], norm)
    assert y[:, 3].isnan().all()


@needs_compiler
def test_gradients_may_come_in_any_layout():
    def gradients(layout):
        x, y, z = (each.to(memory_format=torch.channels_last).requires_grad_() for each in maps(torch.float32))
        total, statistics = kernels.add(x, y.to(memory_format=layout))
        active, (same,) = kernels.norm_relu([total], [statistics], nn.BatchNorm2d(24))
        factors = [each.detach().to(memory_format=layout) for each in (y, z)]
        ((active * factors[0]).sum() + (same * factors[1]).sum()).backward()
        return total.detach(), x.grad, y.grad

    pairs = zip(*map(gradients, (torch.contiguous_format, torch.channels_last)), strict=True)
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in pairs)


@needs_compiler
def test_what_is_not_above_zero_passes_no_gradient():
    x, norm = maps(torch.float32)[0].requires_grad_(), nn.BatchNorm2d(24)
    nn.init.zeros_(norm.weight)
    y, _ = kernels.norm_relu([x], [kernels.moments(x.detach())], norm)
    y.sum().backward()
    assert not norm.bias.grad.any()
    assert not norm.weight.grad.any()


@needs_compiler
def test_addresses_are_only_given_of_what_is_as_expected():
    x, y, _ = maps(torch.float32)
    statistics, norm = [kernels.moments(x)], nn.BatchNorm2d(24)
    for wrong in (x.contiguous(), x[:0]):
        with pytest.raises(ValueError, match="channels last and not empty"):
            kernels.moments(wrong)
    for maps_of_it, module in (([x.contiguous()], norm), ([x, y.bfloat16()], nn.BatchNorm2d(48)), ([x], norm.double())):
        with pytest.raises(ValueError, match=r"torch\.float"):
            kernels.norm_relu(maps_of_it, statistics * len(maps_of_it), module)
    with pytest.raises(ValueError, match="cannot be added"):
        kernels.add(x, y[:1])


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """Kernels that are not loaded yet, with a cache folder of their own."""
    monkeypatch.setenv("MSRN_CACHE", str(tmp_path / "cache"))
    build.library.cache_clear()
    yield tmp_path / "cache"
    build.library.cache_clear()


def stopped(command):
    raise subprocess.CalledProcessError(1, command, stderr="a compiler was started")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for a compiler on Linux only")
@pytest.mark.parametrize("name", ["no-such-compiler", "false"])
def test_without_a_compiler_torch_computes_and_a_line_says_so(anew, monkeypatch, caplog, name):
    monkeypatch.setenv("CXX", name)
    assert not kernels.available(torch.float32)
    assert name in caplog.text
    assert "slower" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="looks for a compiler on Linux only")
def test_a_compiler_that_hangs_is_ended_with_all_that_it_started(anew, monkeypatch, caplog, tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\n(sleep 30; touch survived) &\nwait\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(build, "_PATIENCE", 0.3)
    assert not kernels.available(torch.float32)  # and does not wait for whoever holds the pipe
    assert "timed out" in caplog.text


@needs_compiler
def test_compiled_once_they_are_kept(anew, monkeypatch):
    assert kernels.available(torch.float32)
    build.library.cache_clear()
    monkeypatch.setattr(build, "_run", stopped)
    assert kernels.available(torch.float32)
    (kept,) = anew.iterdir()
    kept.chmod(0o666)  # anybody may have written it
    build.library.cache_clear()
    assert not kernels.available(torch.float32)


@needs_compiler
def test_another_processor_has_kernels_of_its_own(anew, monkeypatch):
    for flags in ({"one"}, {"other"}):
        monkeypatch.setattr(build, "instructions", lambda flags=flags: frozenset(flags))
        build.library.cache_clear()
        assert kernels.available(torch.float32)
    assert len(list(anew.iterdir())) == 2


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
    anew.touch()
    with caplog.at_level("INFO", "msrn"):
        assert kernels.available(torch.float32)
    assert "cannot be kept" in caplog.text
