"""Weights travel to a stand-in of the hub and back, and whatever is not exactly as it says is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.hub import hub as stand_in
from tests.helpers.networks import random_network, random_weights

from msrn import MSRN
from msrn.errors import OutputError, UsageError, WeightsError
from msrn.network import hub
from msrn.network.config import MSRNConfig
from msrn.network.memnet import build
from msrn.network.weights import load, save

pytest.importorskip("huggingface_hub")
SMALL, NAME = MSRNConfig(1, 1, 2), "someone/small"


@pytest.fixture
def server():
    with stand_in() as server:
        yield server


@pytest.fixture
def there(server, tmp_path):
    """How to reach the stand-in, with an empty cache."""
    return {"endpoint": server.address, "cache": tmp_path / "cache", "token": "write"}


def pushed(server, weights):
    return hub.push(weights, NAME, endpoint=server.address, token="write")


def test_what_is_pushed_comes_back(server, there):
    weights = random_weights("sr", SMALL)
    commit = pushed(server, weights)
    assert set(server.commits[commit]) == {"README.md", "config.json", "model.safetensors"}
    back = hub.from_pretrained(NAME, **there)
    assert back.card == weights.card
    assert back.name == f"{NAME}@{commit[:8]}"
    assert all(np.array_equal(back.arrays[key], array) for key, array in weights.arrays.items())
    assert server.downloads[f"{NAME}/config.json"] == 1  # by which the hub counts downloads
    config = json.loads(server.commits[commit]["config.json"])
    assert (config["model_type"], config["sha256"], config["network"]["channels"]) == ("msrn", back.sha256, 2)
    network, x = MSRN.from_pretrained(NAME, **there), torch.rand(1, 1, 9, 8)
    assert torch.equal(network(x), build(weights)(x))


def test_the_cache_serves_without_the_hub(server, there):
    commit = pushed(server, random_weights("sr", SMALL))
    first = hub.from_pretrained(NAME, **there)
    again = hub.from_pretrained(NAME, revision=commit, **there)
    server.shutdown()
    server.server_close()
    for options in ({"offline": True}, {"revision": commit}, {"offline": True, "revision": commit}):
        assert hub.from_pretrained(NAME, **there | options).sha256 == first.sha256 == again.sha256
    assert server.downloads[f"{NAME}/model.safetensors"] == 1
    with pytest.raises(WeightsError, match="not downloaded before"):
        hub.from_pretrained("someone/other", **there | {"offline": True})
    with pytest.raises(WeightsError, match="not downloaded before"):
        hub.from_pretrained(NAME, **there | {"offline": True, "cache": there["cache"] / "none"})


def test_revision_and_digest_are_pins(server, there):
    old, new = random_weights("sr", SMALL), random_weights("sr", SMALL, seed=1)
    commit = pushed(server, old)
    pushed(server, new)
    assert hub.from_pretrained(NAME, **there).content == new.content
    pinned = hub.from_pretrained(NAME, revision=commit, **there)
    assert pinned.content == old.content
    assert hub.from_pretrained(NAME, revision=commit, sha256=pinned.sha256, **there).content == old.content
    with pytest.raises(WeightsError, match="wanted was"):
        hub.from_pretrained(NAME, sha256=pinned.sha256, **there)
    with pytest.raises(UsageError, match="64 hex digits"):
        hub.from_pretrained(NAME, sha256="abc", **there)
    with pytest.raises(WeightsError, match="no such revision"):
        hub.from_pretrained(NAME, revision="0" * 40, **there)


def test_both_files_are_of_one_commit(server, there, monkeypatch):
    """Someone pushes between the two downloads."""
    import huggingface_hub

    old, download = random_weights("sr", SMALL), huggingface_hub.hf_hub_download
    pushed(server, old)

    def slowly(repository, file, **options):
        path = download(repository, file, **options)
        if file == "config.json":
            pushed(server, random_weights("sr", SMALL, seed=1))
        return path

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", slowly)
    assert hub.from_pretrained(NAME, **there).content == old.content


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "the SHA-256 of model.safetensors is"),
        ("model.safetensors", lambda _: b"\x80\x04N.", "not a safetensors file"),
        ("config.json", lambda _: b"{", "cannot be read"),
        ("config.json", lambda _: b'{"model_type": "bert"}', "another kind of model"),
        ("config.json", lambda _: b"[]", "another kind of model"),
        ("config.json", lambda data: data.replace(b'"channels": 2', b'"channels": 3'), "another network"),
        ("config.json", lambda data: data.replace(b'"sr"', b'"jpeg"'), "another network"),
    ],
)
def test_what_is_not_as_it_says_is_refused(server, there, file, change, message):
    commit = pushed(server, random_weights("sr", SMALL))
    server.commit(NAME, {file: change(server.commits[commit][file])})
    with pytest.raises(WeightsError, match=message):
        hub.from_pretrained(NAME, **there)


def test_only_safetensors_are_fetched(server, there):
    """A repository with a pickle and nothing else is not even downloaded."""
    server.commit(NAME, {"config.json": b'{"model_type": "msrn"}', "pytorch_model.bin": b"\x80\x04N."})
    with pytest.raises(WeightsError, match=r"no config\.json and model\.safetensors"):
        hub.from_pretrained(NAME, **there)
    assert not server.downloads[f"{NAME}/pytorch_model.bin"]


def test_errors_are_one_sentence(server, there, tmp_path):
    with pytest.raises(WeightsError, match="no such repository, or it is private"):
        hub.from_pretrained("someone/none", **there)
    weights = random_weights("sr", SMALL)
    with pytest.raises(OutputError, match="not allowed; log in"):
        hub.push(weights, NAME, endpoint=server.address, token="read")
    with pytest.raises(UsageError, match="organisation/name"):
        hub.push(weights, "small", endpoint=server.address)
    with pytest.raises(WeightsError, match="no weights named 'none'"):
        hub.from_pretrained("none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="empty is no folder of weights"):
        hub.from_pretrained(tmp_path / "empty")


def test_names_files_and_folders(tmp_path):
    weights = random_weights("sr", SMALL)
    hub.save_pretrained(weights, tmp_path / "made")
    (folder := tmp_path / "moved").mkdir()
    shutil.copytree(tmp_path / "made", folder, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "made")
    assert hub.from_pretrained(folder).content == weights.content
    file = save(weights, tmp_path, "one")
    assert hub.from_pretrained(file, sha256=load(file).sha256).content == weights.content
    assert hub.from_pretrained("msrn-m4r1s2-sr").sha256 == load("sr").sha256
    assert MSRN.from_pretrained("sr").config == load("sr").card.config


def test_a_module_is_pushed_as_what_it_is(server, there):
    weights = load(Path(save(random_weights("denoise", SMALL), there["cache"], "one")))
    network = build(weights)
    network.push_to_hub(NAME, endpoint=server.address, token="write")
    assert hub.from_pretrained(NAME, **there).sha256 == weights.sha256
    network.extract.weight.data += 1
    with pytest.raises(UsageError, match="changed since"):
        network.push_to_hub(NAME, endpoint=server.address, token="write")
    card = replace(weights.card, data="something else", scores={})
    network.push_to_hub(NAME, card, endpoint=server.address, token="write")
    assert hub.from_pretrained(NAME, **there).card.data == "something else"
    with pytest.raises(UsageError, match="card"):
        random_network(SMALL).push_to_hub(NAME, endpoint=server.address)


def test_the_page_says_what_the_file_does(server):
    yaml = pytest.importorskip("yaml")
    weights = load("sr")
    scored = replace(random_weights("sr", SMALL), card=replace(weights.card, config=SMALL, licence='A: "B"\n- c'))
    _, matter, page = server.commits[pushed(server, scored)]["README.md"].decode().split("---\n", 2)
    told = yaml.safe_load(matter)
    assert (told["license"], told["license_name"]) == ("other", 'A: "B"\n- c')
    assert (told["library_name"], told["pipeline_tag"]) == ("msrn-pytorch", "image-to-image")
    results = told["model-index"][0]["results"]
    assert results[0]["metrics"][0] == {"type": "psnr", "value": weights.card.scores["set5"]["2"]["mean"]["psnr"]}
    assert len(results) == 3
    for said in ("| set5 | ×2 | 33.66 / 0.9299 | 37.06 / 0.9566 |", f'"{NAME}"', "sha256=", "t91"):
        assert said in page
