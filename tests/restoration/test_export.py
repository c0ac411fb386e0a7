"""Exported files compute what the package does, with sides of any length, and say what they are."""

import errno
import json
import os
import re
from importlib.util import find_spec
from io import BytesIO

import numpy as np
import pytest
import torch
from tests.helpers.command import msrn
from tests.helpers.networks import random_weights

from msrn.errors import MSRNError, OutputError, UsageError
from msrn.images.picture import Picture
from msrn.images.resize import resize
from msrn.network.config import MSRNConfig
from msrn.network.memnet import build
from msrn.network.weights import load, save
from msrn.restoration.export import export, parity
from msrn.restoration.export.parity import TOLERANCE, sizes
from msrn.restoration.restorer import Restorer

pytestmark = pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs the extra onnx")
SMALL = [MSRNConfig(2, 2, 4), MSRNConfig(2, 1, 4, 3, unshuffle=2), MSRNConfig(1, 1, 3, unshuffle=3)]


@pytest.fixture(autouse=True)
def _few_sizes(monkeypatch):
    """Three sizes instead of 20, which some tests below ask for, and ``scripts/benchmarks/exports.py``."""
    monkeypatch.setattr(parity, "_SIZES", 3)


def opened(path):
    """A function that runs a file, as whoever receives it would."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path.read_bytes())
        (given,) = session.get_inputs()
        return lambda images: session.run(None, {given.name: images})[0]
    if path.suffix == ".xml":
        import openvino

        compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda images: compiled([images])[0]
    module = torch.export.load(path).module()
    return lambda images: module(torch.from_numpy(images)).numpy()


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("file", "config"),
    [
        *((file, config) for file in ("x.onnx", "x.xml") for config in SMALL),
        ("x.pt2", MSRNConfig(1, 1, 2, unshuffle=2)),
    ],
)
def test_the_file_is_the_network(tmp_path, file, config):
    weights = random_weights("denoise", config)
    assert export(weights, tmp_path / file) < 1e-5
    run, network = opened(tmp_path / file), build(weights)
    for count, height, width in [(1, 24, 30), (3, 23, 31), (1, 6, 7), *([] if file == "x.pt2" else [(1, 1, 1)])]:
        images = noise(count, config.in_channels, height, width)
        with torch.inference_mode():
            expected = network(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(run(images), expected, atol=1e-5)
    if file == "x.pt2":
        said = {"msrn.json": ""}
        torch.export.load(BytesIO((tmp_path / file).read_bytes()), extra_files=said)
        assert json.loads(said["msrn.json"])["halo"] == str(config.receptive_radius)


@pytest.mark.parametrize(
    ("file", "config"),
    [*((file, config) for file in ("x.onnx", "x.xml") for config in SMALL[:2]), ("x.pt2", SMALL[1])],
)
def test_planes_agree_on_twenty_sizes(tmp_path, monkeypatch, file, config):
    monkeypatch.undo()
    assert len(set(sizes())) == 20
    weights = random_weights("denoise", config)
    export(weights, tmp_path / file)
    run, network = opened(tmp_path / file), build(weights)
    for seed, size in enumerate(sizes()):
        images = noise(1, config.in_channels, *size, seed=seed)
        with torch.inference_mode():
            expected = network(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(run(images), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("task", "config"),
    [
        ("sr", SMALL[0]),
        ("photo-sr", SMALL[1]),
        ("denoise", SMALL[0]),
        ("denoise", SMALL[1]),
        ("jpeg", SMALL[0]),
        ("jpeg", SMALL[1]),
        ("photo", SMALL[1]),
    ],
)
def test_images_agree_on_twenty_sizes(tmp_path, monkeypatch, task, config):
    """For every task, on luminance and on colours: the file is compared before it gets its name."""
    monkeypatch.undo()
    assert export(random_weights(task, config), tmp_path / "x.onnx", "image") <= TOLERANCE


def test_the_packages_weights_agree_on_twenty_sizes(tmp_path, monkeypatch):
    monkeypatch.undo()
    assert export(load("sr"), tmp_path / "x.onnx") <= TOLERANCE


@pytest.mark.parametrize(("name", "halo"), [("denoise", 21), ("photo", 21)])
def test_eight_bits_agree_within_a_grey_level(tmp_path, monkeypatch, name, halo):
    monkeypatch.undo()
    weights = load(name)
    export(weights, tmp_path / "x.xml", precision="int8")
    run = opened(tmp_path / "x.xml")
    restorer = Restorer(weights, device="cpu", backend="openvino", precision="int8")
    tried = list(sizes())
    assert len(set(tried)) == 20
    for seed, size in enumerate(tried):
        planes = noise(1, weights.card.config.in_channels, *size, seed=seed)
        assert np.abs(run(planes) - restorer.restore_planes(planes)).max() < 1 / 255
    text = (tmp_path / "x.xml").read_text()
    assert "FakeQuantize" in text
    assert '<precision value="int8"' in text
    assert f'<halo value="{halo}"' in text


def test_eight_bits_need_ranges(tmp_path):
    with pytest.raises(UsageError, match="no 8-bit ranges"):
        export(random_weights("denoise", SMALL[0]), tmp_path / "y.xml", precision="int8")


@pytest.mark.parametrize(
    ("task", "config", "scale"),
    [
        ("sr", SMALL[0], 2.0),
        ("sr", SMALL[2], 1.1),
        ("photo-sr", SMALL[1], 3.5),
        ("denoise", SMALL[0], None),
        ("denoise", SMALL[1], None),
        ("jpeg", SMALL[2], None),
    ],
)
def test_an_image_is_what_the_restorer_makes_of_it(tmp_path, task, config, scale):
    """Odd sides, a batch, and a picture so wide that positions need more digits than float32 has."""
    weights = random_weights(task, config)
    export(weights, tmp_path / "x.onnx", "image", scale=scale)
    run, restorer = opened(tmp_path / "x.onnx"), Restorer(weights, device="cpu", backend="openvino", precision="fp32")
    for count, height, width in [(1, 17, 40), (2, 32, 19), (1, 16, 3001)]:
        images = noise(count, 3, height, width)
        restored = [restorer(Picture(image), scale=scale).pixels for image in images]
        np.testing.assert_allclose(run(images), np.clip(restored, 0, 1), atol=2e-5)


@pytest.mark.parametrize("scale", [2.0, 1.5, 4.0, 7 / 3])
@pytest.mark.parametrize("side", [1, 2, 3, 50])
def test_the_enlargement_is_matlabs(scale, side):
    from fractions import Fraction

    from msrn.restoration.backends.onnx import Operations, session
    from msrn.restoration.export.onnx_resize import enlarge

    do = Operations()
    enlarge(do, "input", Fraction(scale).limit_denominator(1000))
    run = session(do.model("input", "output", 1, {"scale": "?"}).SerializeToString())
    image = noise(1, 1, side, 9)
    np.testing.assert_allclose(run.run(None, {"input": image})[0], resize(image, scale), atol=1e-6)


def test_what_does_not_fit_is_refused_and_not_written(tmp_path):
    weights = random_weights("denoise", SMALL[0])
    with pytest.raises(MSRNError, match="differs"):
        export(weights, tmp_path / "x.onnx", tolerance=-1.0)
    for file, options, message in [
        ("x.pb", {}, r"\*\.onnx or \*\.xml"),
        ("x.pb", {"kind": "torch"}, r"torch is written as \.pt2"),
        ("x.onnx", {"kind": "image", "scale": 2.0}, "for enlarging weights"),
        ("x.onnx", {"precision": "int8"}, "is for openvino"),
    ]:
        with pytest.raises(UsageError, match=message):
            export(weights, tmp_path / file, **options)
    with pytest.raises(UsageError, match="at least 1"):
        export(random_weights("sr", SMALL[0]), tmp_path / "x.onnx", "image", scale=0.5)
    with pytest.raises(UsageError, match=r"enlarge by 1 to 4, not by 4\.5: interpolate"):
        export(random_weights("sr", SMALL[0]), tmp_path / "x.onnx", "image", scale=4.5)
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_noticed(tmp_path, monkeypatch):
    """The comparison sees one wrong weight among thousands."""
    from msrn.restoration.export import onnx_planes

    def spoilt(config, arrays):
        other = {key: array.copy() for key, array in arrays.items()}
        other["extract.weight"][0, 0, 1, 1] += 0.5
        return fuse(config, other)

    fuse = onnx_planes.fuse
    monkeypatch.setattr(onnx_planes, "fuse", spoilt)
    with pytest.raises(MSRNError, match="differs"):
        export(random_weights("denoise", SMALL[0]), tmp_path / "x.onnx")


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "x.onnx").write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        export(random_weights("denoise", MSRNConfig(1, 1, 4)), tmp_path / "x.onnx")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_metadata_say_task_colour_scale_and_halo(tmp_path):
    import onnx

    def said(path):
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}

    weights = load(save(random_weights("sr", SMALL[2]), tmp_path, "small"))
    export(weights, tmp_path / "x.onnx")
    export(weights, tmp_path / "y.onnx", "image", scale=3)
    plane, image = said(tmp_path / "x.onnx"), said(tmp_path / "y.onnx")
    assert (plane["input"], plane["scale"], plane["halo"]) == ("luminance, studio range", "1", "14")
    assert (image["input"], image["scale"], image["halo"]) == ("RGB", "3", "7")
    for each in (plane, image):
        assert (each["task"], each["sha256"], each["licence"]) == ("sr", weights.sha256, "Apache-2.0")
        assert json.loads(each["card"])["task"] == "sr"
        assert each["color_rule"].startswith("Y restored")


@pytest.mark.parametrize("task", ["sr", "jpeg"])
def test_the_halo_of_an_image_is_enough(tmp_path, task):
    """A tile with the stated halo gives the whole picture's result, and one with much less does not."""
    import onnx

    weights, scale = random_weights(task, MSRNConfig(2, 1, 4, unshuffle=2)), 3 if task == "sr" else 1
    export(weights, tmp_path / "x.onnx", "image", scale=scale if task == "sr" else None)
    halo = int({entry.key: entry.value for entry in onnx.load(tmp_path / "x.onnx").metadata_props}["halo"])
    run, image = opened(tmp_path / "x.onnx"), noise(1, 3, 2 * halo + 60, 2 * halo + 72)
    whole = run(image)

    def far(margin):
        first = (halo + 16 - margin) // 4 * 4
        tile = run(np.ascontiguousarray(image[:, :, first:, first:]))
        inner = slice((halo + 16) * scale, None)
        kept = slice((halo + 16 - first) * scale, None)
        return np.abs(tile[:, :, kept, kept] - whole[:, :, inner, inner]).max()

    assert far(halo) < 1e-5
    assert far(halo // 4) > 1e-4


def test_the_command(tmp_path):
    path, weights = tmp_path / "sr.onnx", save(random_weights("sr", SMALL[2]), tmp_path, "small")
    path.write_bytes(b"before")
    words = ("export", weights, "-o", path, "-f", "image", "-s", "3x")
    refused = msrn(*words)
    assert (refused.returncode, "--overwrite" in refused.stderr, path.read_bytes()) == (5, True, b"before")
    done = msrn(*words, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert re.search(r"by \S+e-0\d at most on 20 random sizes", done.stderr)
