"""Compiled models are kept between runs, and a kept one computes what a new one does."""

import logging
import subprocess
import sys

import numpy as np
import pytest

from msrn.network import weights
from msrn.restoration import backends
from msrn.restoration.backends import Choice
from msrn.restoration.restorer import Restorer

pytestmark = pytest.mark.skipif(not backends._installed("openvino"), reason="openvino is not installed")
PLANES = np.random.default_rng(0).random((1, 1, 30, 41), dtype=np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MSRN_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO, "msrn")
    return tmp_path / "cache"


def restorer(precision="int8"):
    return Restorer("sr", device="cpu", backend="openvino", precision=precision)


def refuse(*arguments):
    raise AssertionError("compiled again")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "int8-bf16"])
def test_a_kept_model_computes_the_same_and_is_not_compiled(precision, cache, monkeypatch):
    first = restorer(precision).restore_planes(PLANES)
    assert [path.name.split("-")[0] for path in cache.iterdir()] == ["model"]
    monkeypatch.setattr("msrn.restoration.restorer.create", refuse)
    again = restorer(precision)
    np.testing.assert_array_equal(again.restore_planes(PLANES), first)
    assert "network" not in vars(again.weights)  # what needs no torch does not build it


LIGHT = """
import sys
import numpy as np
from msrn import Picture, Restorer
Restorer("sr", device="cpu", backend="openvino", precision="int8")(Picture(np.full((3, 9, 9), 0.5, np.float32)))
print("torch" in sys.modules)
"""


def test_a_kept_model_starts_without_torch():
    run = [sys.executable, "-c", LIGHT]
    said = [subprocess.run(run, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert said == ["True\n", "False\n"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        lambda data: b"[]\n" + data,
        lambda data: data.replace(b'"int8"', b'"bf16"', 1),
    ],
)
def test_a_damaged_or_foreign_model_is_compiled_again(cache, spoil, caplog, monkeypatch):
    first = restorer().restore_planes(PLANES)
    (path,) = cache.iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    np.testing.assert_array_equal(restorer().restore_planes(PLANES), first)
    assert "compiling again" in caplog.text
    monkeypatch.setattr("msrn.restoration.restorer.create", refuse)
    np.testing.assert_array_equal(restorer().restore_planes(PLANES), first)


def test_a_cache_that_cannot_be_written_costs_a_line_only(cache, caplog):
    cache.write_text("a file where the folder should be")
    assert np.isfinite(restorer().restore_planes(PLANES)).all()
    assert "cannot be kept" in caplog.text


def test_weights_versions_and_code_have_models_of_their_own(cache, monkeypatch):
    restorer().restore_planes(PLANES)
    Restorer("denoise", device="cpu", backend="openvino", precision="int8").restore_planes(PLANES)
    restorer("fp32").restore_planes(PLANES)
    monkeypatch.setattr("msrn.restoration.backends.cache._graph", lambda: "other code")
    restorer().restore_planes(PLANES)
    monkeypatch.setattr("msrn.restoration.backends.cache.processor", lambda: "another")
    restorer().restore_planes(PLANES)
    assert len(list(cache.iterdir())) == 5


def test_a_network_that_was_changed_is_neither_kept_nor_taken_from_the_cache(cache):
    published = restorer().restore_planes(PLANES)
    loaded = weights.load("sr")
    loaded.network.reconstruct.bias += 0.25
    changed = Restorer(loaded, device="cpu", backend="openvino", precision="int8").restore_planes(PLANES)
    assert np.abs(changed - published).mean() > 0.1
    np.testing.assert_array_equal(restorer().restore_planes(PLANES), published)
    assert len(list(cache.iterdir())) == 1


def test_what_weights_say_without_their_network_is_what_it_says():
    loaded = weights.load("sr")
    skip = loaded.skip
    assert loaded.identity == loaded.sha256
    assert "network" not in vars(loaded)
    assert skip == Restorer(loaded, device="cpu").fused.skip
    assert loaded.identity == loaded.sha256
    assert Choice("openvino", "int8") in Restorer(loaded, device="cpu")._candidates
