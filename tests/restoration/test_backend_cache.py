"""Compiled models are kept between runs, and a kept one computes what a new one does."""

import logging
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from msrn.network import weights
from msrn.network.graph import fuse
from msrn.restoration import backends
from msrn.restoration.backends import Choice, Processor, create
from msrn.restoration.restorer import Restorer

pytestmark = pytest.mark.skipif(not backends.installed("openvino"), reason="openvino is not installed")
PLANES = np.random.default_rng(0).random((1, 1, 30, 41), dtype=np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MSRN_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO, "msrn")
    return tmp_path / "cache"


def restorer(precision="int8"):
    return Restorer("sr", device="cpu", backend="openvino", precision=precision)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "int8-bf16"])
def test_a_kept_model_computes_the_same_and_is_not_compiled(precision, cache):
    first = restorer(precision).restore_planes(PLANES)
    (path,) = cache.glob("model-*")
    written = path.stat().st_ino  # of a model that is compiled again, a new file is written
    np.testing.assert_array_equal(restorer(precision).restore_planes(PLANES), first)
    assert path.stat().st_ino == written


LIGHT = """
import sys
import numpy as np
from msrn import Picture, Restorer
Restorer("sr", device="cpu", backend="openvino", precision="int8")(Picture(np.full((3, 9, 9), 0.5, np.float32)))
print("torch" in sys.modules)
"""


def test_restoring_needs_no_torch():
    run = [sys.executable, "-c", LIGHT]
    said = [subprocess.run(run, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert said == ["False\n", "False\n"]


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
def test_a_damaged_or_foreign_model_is_compiled_again(cache, spoil, caplog):
    first = restorer().restore_planes(PLANES)
    (path,) = cache.iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    np.testing.assert_array_equal(restorer().restore_planes(PLANES), first)
    assert "making it again" in caplog.text
    written = path.stat().st_ino
    np.testing.assert_array_equal(restorer().restore_planes(PLANES), first)
    assert path.stat().st_ino == written


def test_a_cache_that_cannot_be_written_costs_a_line_only(cache, caplog):
    cache.write_text("a file where the folder should be")
    assert np.isfinite(restorer().restore_planes(PLANES)).all()
    assert "cannot be kept" in caplog.text


def test_weights_precisions_and_processors_have_models_of_their_own(cache, monkeypatch):
    restorer().restore_planes(PLANES)
    Restorer("denoise", device="cpu", backend="openvino", precision="int8").restore_planes(PLANES)
    restorer("fp32").restore_planes(PLANES)
    monkeypatch.setattr("msrn.restoration.backends.openvino.processor", lambda: "another")
    restorer().restore_planes(PLANES)
    assert len(list(cache.iterdir())) == 4


def test_what_a_program_made_is_neither_kept_nor_taken_from_the_cache(cache):
    published = restorer().restore_planes(PLANES)
    loaded = weights.load("sr")
    arrays = {**loaded.arrays, "reconstruct.bias": loaded.arrays["reconstruct.bias"] + np.float32(0.25)}
    changed = replace(loaded, arrays=arrays, sha256="")
    shifted = Restorer(changed, device="cpu", backend="openvino", precision="int8").restore_planes(PLANES)
    assert np.abs(shifted - published).mean() > 0.1
    np.testing.assert_array_equal(restorer().restore_planes(PLANES), published)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="profiles are closed to others")
def test_a_model_that_somebody_else_may_have_planted_is_not_used(cache, caplog):
    loaded = weights.load("sr")
    arrays = {**loaded.arrays, "reconstruct.bias": loaded.arrays["reconstruct.bias"] + np.float32(0.25)}
    graph, ranges = fuse(loaded.card.config, arrays), loaded.card.ranges
    create(Choice("openvino", "int8"), graph, ranges, Processor(), 1, loaded.content)  # as if it were the file's own
    planted = restorer().restore_planes(PLANES)
    cache.chmod(0o777)
    honest = restorer().restore_planes(PLANES)
    assert np.abs(planted - honest).mean() > 0.1
    assert f"other users can write to {cache}" in caplog.text
