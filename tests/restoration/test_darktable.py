"""darktable's packages, by the rules of darktable-ai, its public collection (commit 9913847), and what darktable reads.

darktable-ai has no schema as a file. Its rules are those of what it writes and accepts: ``convert.py`` writes
``config.json``, ``package.py`` the archive, ``validate.py`` opens it, and the README says what a model card must hold.
"""

import json
import re
import zipfile
from dataclasses import replace

import pytest
from tests.helpers.networks import random_weights

from msrn.network.config import MSRNConfig
from msrn.network.weights import load, save
from msrn.restoration.export import export, parity

onnxruntime = pytest.importorskip("onnxruntime")
CONFIG = MSRNConfig(2, 1, 4, 3, unshuffle=2)
WRITTEN = {  # all that its generate_config_json writes
    "id": str,
    "name": str,
    "description": str,
    "task": str,
    "arch": str,
    "backend": str,
    "version": str,
    "tiling": bool,
}
FURTHER = {"num_inputs": int, "attributes": dict}  # what darktable itself reads besides, or passes over
TASKS = {"denoise", "upscale"}
"""Those of its tasks that take a picture and give one."""
CARD = (
    "Model license",
    "OSAID v1.0",
    "MOF",
    "Training data license",
    "Training data provenance",
    "Training code",
    "Known limitations",
    "Published research",
    "Inference",
    "Scope",
    "Reproducibility",
)


def check_config(config: dict[str, object], folder: str) -> None:
    """Fail unless ``config.json`` is one that darktable-ai would write."""
    kinds = WRITTEN | FURTHER
    assert WRITTEN.keys() <= config.keys() <= kinds.keys()
    assert {key: type(value) for key, value in config.items()} == {key: kinds[key] for key in config}
    assert config["id"] == folder
    assert config["task"] in TASKS
    assert re.fullmatch(rf"{config['task']}-[a-z0-9]+(-[a-z0-9]+)*", folder)
    assert (config["backend"], config["version"], config.get("num_inputs", 1)) == ("onnx", "1.0", 1)


def check_model(data: bytes, scale: int) -> None:
    """Fail unless a network takes and gives pictures of any size as darktable-ai's do."""
    session = onnxruntime.InferenceSession(data)
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, made.name, made.type) == ("input", "tensor(float)", "output", "tensor(float)")
    for shape in (given.shape, made.shape):
        assert shape[1] == 3
        assert not any(isinstance(side, int) for side in (shape[0], *shape[2:])), "batch, height and width are free"
    import numpy as np

    for height, width in ((20, 31), (33, 17)):
        image = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
        assert session.run(None, {"input": image})[0].shape == (1, 3, height * scale, width * scale)


def check_card(page: str) -> None:
    """Fail unless the card has a row for every point of darktable-ai's criteria, with something in it."""
    rows = dict(re.findall(r"^\| (.+?) \| (.*\S) \|$", page, re.MULTILINE))
    assert [name for name in CARD if not rows.get(name)] == []


@pytest.mark.parametrize(("name", "task"), [("sr", "upscale"), ("photo", "denoise")])
def test_a_package_keeps_the_rules(tmp_path, monkeypatch, name, task):
    monkeypatch.setattr(parity, "_SIZES", 2)
    small = replace(random_weights(name, CONFIG), card=replace(load("photo").card, task=name, config=CONFIG))
    weights = load(save(small, tmp_path, "small"))
    export(weights, tmp_path / "x.dtmodel")
    with zipfile.ZipFile(tmp_path / "x.dtmodel") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    (folder,) = {entry.partition("/")[0] for entry in files}
    config = json.loads(files[f"{folder}/config.json"])
    check_config(config, folder)
    assert config["task"] == task
    models = {"model_x2.onnx": 2, "model_x4.onnx": 4} if task == "upscale" else {"model.onnx": 1}
    assert set(files) == {f"{folder}/{file}" for file in ("config.json", "README.md", *models)}
    for file, scale in models.items():
        check_model(files[f"{folder}/{file}"], scale)
    page = files[f"{folder}/README.md"].decode()
    check_card(page)
    for said in ("Apache-2.0", "BSDS300", weights.sha256, "would |"):
        assert said in page
    export(weights, tmp_path / "y.dtmodel")
    assert (tmp_path / "y.dtmodel").read_bytes() == (tmp_path / "x.dtmodel").read_bytes()


def test_the_checks_see_what_breaks_the_rules():
    right = {key: kind() for key, kind in WRITTEN.items()}
    right |= {"id": "denoise-x", "task": "denoise", "backend": "onnx", "version": "1.0"}
    check_config(right, "denoise-x")
    wrong = ({"task": "erase"}, {"id": "x"}, {"tiling": "yes"}, {"backend": "torch"}, {"colour": "blue"})
    for change in wrong:
        with pytest.raises(AssertionError):
            check_config(right | change, "denoise-x")
    with pytest.raises(AssertionError):
        check_card("| Model license | Apache-2.0 |\n| MOF |  |")
