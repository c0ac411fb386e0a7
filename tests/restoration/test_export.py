"""Exported files compute what the network does, and say what they are."""

import errno
import json
import os
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tests.helpers.command import msrn
from tests.helpers.networks import random_weights

from msrn.errors import MSRNError, OutputError, UsageError
from msrn.network.config import MSRNConfig
from msrn.network.memnet import build
from msrn.restoration.export import export_onnx

pytestmark = pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs the extra onnx")


@pytest.mark.parametrize(
    "config", [MSRNConfig(2, 2, 4), MSRNConfig(2, 1, 4, 3, unshuffle=2), MSRNConfig(1, 1, 3, unshuffle=3)]
)
def test_the_file_is_the_network(tmp_path, config):
    import onnxruntime

    weights = random_weights("denoise", config)
    assert export_onnx(weights, tmp_path / "x.onnx") < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"))
    for count, height, width in [(1, 24, 30), (3, 23, 31), (1, 1, 1)]:
        images = np.random.default_rng(0).random((count, config.in_channels, height, width), dtype=np.float32)
        with torch.inference_mode():
            expected = build(weights)(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(session.run(["restored"], {"image": images})[0], expected, atol=1e-5)


def test_a_file_that_differs_is_not_written(tmp_path):
    weights = random_weights("denoise", MSRNConfig(1, 1, 4))
    with pytest.raises(MSRNError, match="differs"):
        export_onnx(weights, tmp_path / "x.onnx", tolerance=-1.0)
    with pytest.raises(UsageError, match=r"\.onnx"):
        export_onnx(weights, tmp_path / "x.pb")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "x.onnx").write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        export_onnx(random_weights("denoise", MSRNConfig(1, 1, 4)), tmp_path / "x.onnx")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_the_command(tmp_path):
    import onnx

    path = tmp_path / "sr.onnx"
    assert msrn("export", "sr", "-o", path).returncode == 0
    said = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert said["input"] == "luminance, studio range"
    assert json.loads(said["card"])["task"] == "sr"
    again = msrn("export", "sr", "-o", path)
    assert (again.returncode, "--overwrite" in again.stderr) == (5, True)
    assert msrn("export", "sr", "-o", path, "--overwrite").returncode == 0
