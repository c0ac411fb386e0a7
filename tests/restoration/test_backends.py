"""Every backend computes the residual of the same graph."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import ROOT
from tests.helpers.networks import fused, random_network

from msrn.errors import UsageError
from msrn.network.config import MSRNConfig
from msrn.restoration import backends
from msrn.restoration.backends import Choice, candidates, create, native
from msrn.restoration.backends.pytorch import Torch, TorchOperations, as_tensors, keep_compiled_code_private
from msrn.restoration.pixel_shuffle import from_depth
from msrn.system.machine import instructions

CPU = torch.device("cpu")
CONFIG = MSRNConfig(2, 2, 8)
SQUARES = MSRNConfig(1, 2, 8, unshuffle=2)
EVERYTHING = ("fp32", "bf16", "int8", "int8-bf16")


def ranges_of(graph, top=4.0):
    """The same generous range at every place."""
    places: dict[str, float] = {}

    class Places(TorchOperations):
        def convolve(self, x, convolution, place):
            places.update({place: top} if "." in place else {})
            return super().convolve(x, convolution, place)

    as_tensors(graph).residual(torch.zeros(1, graph.config.depth, 1, 1), Places())
    return places


def expected(network, x):
    return network(torch.from_numpy(x)).numpy() - x * fused(network).skip


@pytest.mark.parametrize("name", ["eager", "openvino", "onnx"])
@pytest.mark.parametrize("config", [CONFIG, MSRNConfig(3, 1, 5, in_channels=3), MSRNConfig(2, 1, 4, 1, False), SQUARES])
def test_backends_agree_with_the_plain_network(name, config):
    if not backends.installed(name):
        pytest.skip(f"{name} is not installed")
    network = random_network(config, seed=3)
    backend = create(Choice(name, "fp32"), fused(network), {}, CPU)
    for size in [(1, 9, 12), (2, 1, 1), (1, 20, 7)]:
        x = np.random.default_rng(0).random((size[0], config.depth, *size[1:]), dtype=np.float32)
        kept = x.copy()
        result = backend(x)
        assert result.dtype == np.float32
        image = from_depth(x, config.unshuffle)
        np.testing.assert_allclose(from_depth(result, config.unshuffle), expected(network, image), atol=2e-5)
        np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("config", [CONFIG, MSRNConfig(2, 1, 8, in_channels=3, unshuffle=2)])
@pytest.mark.parametrize(
    "choice", [Choice("eager", "bf16"), *(Choice("openvino", kind) for kind in ("bf16", "int8", "int8-bf16"))]
)
def test_lower_precisions_are_near_and_are_what_they_say(choice, config):
    if not backends.installed(choice.backend):
        pytest.skip(f"{choice.backend} is not installed")
    if choice == Choice("openvino", "bf16") and "avx512f" not in instructions():
        pytest.skip("OpenVINO computes fp32 here")
    network = random_network(config, seed=3)
    x = np.random.default_rng(0).random((1, config.depth, 24, 31), dtype=np.float32)
    graph = fused(network)
    result = from_depth(create(choice, graph, ranges_of(graph), CPU)(x), config.unshuffle)
    error = np.abs(result - expected(network, from_depth(x, config.unshuffle)))
    assert 1e-4 < error.max() < 0.1  # not the same: something was rounded (bf16 needs a processor that has it)


@pytest.mark.parametrize("precision", ["int8", "int8-bf16"])
@pytest.mark.parametrize("squares", [1, 2])
def test_openvino_rounds_to_8_bit_together_with_what_comes_before(precision, squares):
    openvino = pytest.importorskip("msrn.restoration.backends.openvino")
    graph = fused(random_network(MSRNConfig(4, 2, 16, unshuffle=squares)))
    model = openvino.OpenVINO.build(graph, precision, ranges_of(graph)).compiled.get_runtime_model()
    types = [node.get_rt_info()["layerType"].astype(str) for node in model.get_ops()]
    assert types.count("Convolution") == 2 + sum(2 * 2 + m + 1 + 2 for m in range(4))
    assert "FakeQuantize" not in types


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # within torch, as the compiler is loaded
def test_a_compiled_graph_agrees_with_the_plain_network_at_every_size(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    network = random_network(MSRNConfig(1, 1, 4), seed=3)
    backend = create(Choice("compiled", "fp32"), fused(network), {}, CPU)
    for size in [(9, 12), (20, 7)]:  # one batch size only: torch would compile anew for another, for 20 seconds
        x = np.random.default_rng(0).random((1, 1, *size), dtype=np.float32)
        result = backend(x)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected(network, x), atol=2e-5)
    assert list(tmp_path.rglob("*.so"))  # it was compiled, not merely run


@pytest.mark.parametrize("precision", ["int8", "int8-bf16"])
def test_8_bit_is_refused_without_ranges(precision):
    with pytest.raises(UsageError, match="ranges"):
        create(Choice("openvino", precision), fused(random_network(CONFIG)), {}, CPU)


def test_only_the_memory_blocks_are_rounded():
    graph = fused(random_network(CONFIG))
    first, second = ([f"{m}.{kind}.{r}" for m in range(2) for r in range(2)] for kind in ("first", "second"))
    gates = [f"0.gate.{k}" for k in range(3)] + [f"1.gate.{k}" for k in range(4)]
    assert sorted(ranges_of(graph)) == sorted([*first, *second, *gates])


def test_automatic_candidates_are_harmless_and_installed(monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda name: name != "onnx")
    assert candidates(CPU) == [("openvino", "fp32"), ("eager", "fp32")]
    assert candidates(CPU, harmless=("fp32", "int8"))[0] == ("openvino", "int8")
    assert candidates(torch.device("cuda"), harmless=EVERYTHING) == [("eager", "bf16"), ("eager", "fp32")]
    assert candidates(CPU, harmless=EVERYTHING)[0] == ("openvino", "int8-bf16")
    assert candidates(CPU, "compiled") == [("compiled", "fp32")]
    monkeypatch.setattr(backends, "installed", lambda name: name == "eager")
    assert candidates(CPU, harmless=EVERYTHING) == [("eager", "bf16"), ("eager", "fp32")]
    monkeypatch.setattr(backends, "installed", lambda name: False)
    with pytest.raises(UsageError, match="restoring needs openvino"):
        candidates(CPU)


def test_torch_extracts_the_images_features_in_fp32_in_bf16_too():
    exact = fused(random_network(MSRNConfig(1, 1, 8)))
    graph = as_tensors(exact, computing=torch.bfloat16)
    np.testing.assert_array_equal(graph.extract.weight.numpy(), exact.extract.weight)
    np.testing.assert_array_equal(graph.extract_norm.scale.numpy(), exact.extract_norm.scale)
    assert graph.reconstruct.weight.dtype == torch.bfloat16


def test_torch_gives_what_the_graph_says_at_any_size():
    graph = fused(random_network(MSRNConfig(1, 1, 8)))
    x = np.random.default_rng(0).random((2, 1, 9, 7), dtype=np.float32)
    one, other = (Torch(graph, "fp32", "cpu")(part) for part in (x, x[:1]))
    np.testing.assert_allclose(one[:1], other, atol=1e-6)


def test_bf16_is_not_automatic_where_it_is_emulated(monkeypatch):
    monkeypatch.setattr(backends, "has_bf16", lambda: False)
    assert native(CPU, EVERYTHING) == ("fp32", "int8")
    assert native(torch.device("cuda"), EVERYTHING) == EVERYTHING
    monkeypatch.setattr(backends, "has_bf16", lambda: True)
    assert native(CPU, EVERYTHING) == EVERYTHING


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tpu",), "unknown backend 'tpu'"),
        (("auto", "fp8"), "unknown precision 'fp8'"),
        (("eager", "int8"), "openvino"),
        (("onnx", "bf16"), "bf16 is not for the onnx backend"),
    ],
)
def test_what_does_not_go_together_is_named(arguments, words, monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda name: True)
    with pytest.raises(UsageError, match=words):
        candidates(CPU, *arguments)


def test_missing_packages_and_wrong_devices_are_named(monkeypatch):
    monkeypatch.setattr(backends, "installed", lambda name: True)
    with pytest.raises(UsageError, match="CPU only"):
        candidates(torch.device("cuda"), "openvino")
    monkeypatch.setattr(backends, "installed", lambda name: False)
    with pytest.raises(UsageError, match="needs openvino, which is not installed: python -m pip install"):
        candidates(CPU, "openvino")


SIGNAL_AFTER_TWO_BACKENDS = """
import os, signal
import torch
from tests.helpers.networks import fused, random_network
from msrn.network.config import MSRNConfig
from msrn.restoration.backends import Choice, create

graph = fused(random_network(MSRNConfig(1, 1, 2)))
both = [create(Choice("openvino", "fp32"), graph, {}, torch.device("cpu")) for _ in range(2)]
del both[0], both[0]
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_after_two_backends_is_an_interruption_not_a_crash():
    process = subprocess.run(
        [sys.executable, "-c", SIGNAL_AFTER_TWO_BACKENDS], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (process.returncode, process.stdout) == (0, "interrupted\n"), process.stderr


FIRST_CALLS_AT_ONCE = """
import sys, threading
import numpy as np
from tests.helpers.networks import fused, random_network
from msrn.network.config import MSRNConfig
from msrn.restoration.backends import Choice, create
sys.setswitchinterval(1e-6)
backend = create(Choice("openvino", "fp32"), fused(random_network(MSRNConfig(1, 1, 2))), {}, None, at_once=2)
together = threading.Barrier(8)
def call():
    together.wait()
    backend(np.zeros((1, 1, 8, 8), np.float32))
threads = [threading.Thread(target=call, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(20)
sys.exit(any(thread.is_alive() for thread in threads))
"""


@pytest.mark.skipif(not backends.installed("openvino"), reason="openvino is not installed")
@pytest.mark.alone  # on one core, they would hardly meet
def test_threads_whose_first_calls_meet_do_not_wait_for_each_other_for_ever():
    # Left to itself, OpenVINO's binding stopped at every one of six tries.
    subprocess.run([sys.executable, "-c", FIRST_CALLS_AT_ONCE], cwd=ROOT, check=True, timeout=120)


WHAT_IS_IMPORTED = """
import sys
from msrn.restoration.backends import openvino as ours
assert not {"openvino.tools.ovc", "openvino_telemetry"} & {*sys.modules}, "the converter"
import openvino
try:
    openvino.convert_model("no such file")
except Exception as error:
    print("no such file" in str(error), "openvino.tools.ovc" in sys.modules)
"""


@pytest.mark.skipif(not backends.installed("openvino"), reason="openvino is not installed")
def test_openvino_is_imported_without_its_converter_which_reports_its_use():
    process = subprocess.run([sys.executable, "-c", WHAT_IS_IMPORTED], capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (0, "True True\n"), process.stderr  # others get it when they ask


NO_TELEMETRY = """
import onnxruntime
told = []
onnxruntime.disable_telemetry_events = lambda: told.append(1)
import msrn.restoration.backends.onnx
print(len(told))
"""


@pytest.mark.skipif(not backends.installed("onnx"), reason="onnxruntime is not installed")
def test_onnxruntime_is_told_not_to_report_its_use():
    process = subprocess.run([sys.executable, "-c", NO_TELEMETRY], capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (0, "1\n"), process.stderr


@pytest.mark.skipif(os.name != "posix", reason="profiles are closed to others")
def test_torch_keeps_its_compiled_libraries_where_nobody_else_can_plant_one(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MSRN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    keep_compiled_code_private()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "inductor")
    (tmp_path / "cache" / "inductor").chmod(0o777)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    keep_compiled_code_private()
    fresh = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert fresh.stat().st_mode & 0o777 == 0o700
    assert "other users can write" in caplog.text
    fresh.rmdir()
