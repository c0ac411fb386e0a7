"""A run becomes a weights file: the averaged network, with a card that says where it comes from."""

import json
import math
import shutil
import subprocess

import pytest
import torch
from tests.training.test_trainer import recipe

from msrn.errors import UsageError, WeightsError
from msrn.network.weights import halve, load
from msrn.training import publish as publishing
from msrn.training.publish import publish
from msrn.training.state import read_run
from msrn.training.trainer import fit


@pytest.fixture(scope="module")
def run(data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    fit(recipe(), data_folder, folder, device="cpu", precision="fp32")
    return folder


def test_publishing_gives_the_averaged_network_with_its_card(run, data_folder, tmp_path):
    state = read_run(run / "best.ckpt")[1]  # which step scored best depends on the processor's rounding
    path, card = publish(run, tmp_path, data_name="toy", scores_on=[data_folder / "images"], levels=[15])
    assert path.name.startswith("MSRN_M2R2C3_denoise-toy-")
    loaded = load(path)
    assert loaded.card == card
    assert card.training["patches"] == 2 * state.step
    assert card.recipe["optimiser"]["steps"] == 12
    assert math.isfinite(card.scores["images"]["15"]["mean"]["psnr"])
    for key, tensor in state.average.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], tensor), key
    assert any(
        not torch.equal(a, b) for a, b in zip(state.average.parameters(), state.network.parameters(), strict=True)
    )


def test_a_published_file_is_completed_and_keeps_its_name(run, data_folder, tmp_path):
    path, card = publish(run, tmp_path, data_name="toy")
    assert card.harmless == ("fp32",)
    completed, fuller = publish(path, tmp_path / "again", data_root=data_folder)
    assert completed.name.startswith("MSRN_M2R2C3_denoise-toy-")
    assert fuller.ranges
    assert fuller.losses.keys() == {"int8", "bf16"}
    assert load(completed).card == fuller
    assert fuller.scores == card.scores
    assert fuller.training == card.training


def test_half_as_large_a_file_holds_the_rounded_network_and_nothing_measured_before(run, data_folder, tmp_path):
    whole, _ = publish(run, tmp_path, scores_on=[data_folder / "images"], levels=[15], data_root=data_folder)
    halved, card = publish(whole, tmp_path, half=True)
    assert card.harmless == ("fp32",)
    assert (card.scores, card.losses, card.ranges) == ({}, {}, {})
    before, after = (load(path).network.state_dict() for path in (whole, halved))
    for key, tensor in after.items():
        expected = before[key].half().float() if tensor.ndim == 4 else before[key]
        assert torch.equal(tensor, expected), key
    convolutions = sum(tensor.numel() for tensor in after.values() if tensor.ndim == 4)
    assert sum(array.nbytes for array in load(whole)._arrays.values()) - sum(
        array.nbytes for array in load(halved)._arrays.values()
    ) == (2 * convolutions)
    completed, fuller = publish(halved, tmp_path / "again", scores_on=[data_folder / "images"], levels=[15])
    assert fuller.scores
    assert publish(completed, tmp_path / "third", half=True)[1] == fuller  # nothing is left to round
    assert load(completed).storage == "float16"  # and is not asked for again
    loaded = load(completed)
    assert loaded.network
    assert loaded.identity == loaded.sha256


def test_a_thinned_curve_ends_with_what_is_published(tmp_path):
    for count in (1, 60, 62, 150):
        rows = [{"step": 10 * k, "seconds": 1.0, "scores": {"2": 30.0}} for k in range(count + 5)]
        (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        points = publishing._curve(tmp_path, 10 * (count - 1))
        assert points[-1][0] == 10 * (count - 1)
        assert len(points) <= 60
        assert points == sorted(points)


def test_weights_that_float16_cannot_hold_are_not_halved(run, tmp_path):
    path, _ = publish(run, tmp_path)
    network = load(path).network
    network.extract.weight.data[0, 0, 0, 0] = 1e6
    with pytest.raises(WeightsError, match=r"extract\.weight .*float16"):
        halve(network)


def test_a_run_that_has_not_grown_is_not_published(data_folder, tmp_path):
    fit(recipe(), data_folder, tmp_path, minutes=1e-9, device="cpu")
    with pytest.raises(WeightsError, match="not grown"):
        publish(tmp_path, tmp_path)


def test_a_published_file_keeps_its_licence_unless_another_is_given(run, tmp_path):
    path, card = publish(run, tmp_path, licence="MIT")
    assert card.licence == "MIT"
    assert publish(path, tmp_path)[1].licence == "MIT"
    assert publish(path, tmp_path, licence="BSD-3-Clause")[1].licence == "BSD-3-Clause"
    assert publish(run, tmp_path)[1].licence == "Apache-2.0"


@pytest.mark.parametrize("wish", [{"levels": [20]}, {"scores_on": ["images"]}, {"scores_on": [""], "levels": [-1]}])
def test_scores_need_images_and_levels_that_exist(run, data_folder, tmp_path, wish):
    wish = wish | {"scores_on": [data_folder / name for name in wish.get("scores_on", ())]}
    with pytest.raises(UsageError):
        publish(run, tmp_path, **wish)
    assert not list(tmp_path.iterdir())


def test_the_revision_is_this_projects_own(tmp_path, monkeypatch):
    """Installed into somebody's working tree, where git ignores it, it has none."""
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    installed = tmp_path / ".venv" / "publish.py"
    installed.parent.mkdir()
    shutil.copy(publishing.__file__, installed)
    (tmp_path / ".gitignore").write_text(".venv")
    for command in (["init", "--quiet"], ["add", ".gitignore"], ["commit", "--quiet", "-m", "theirs"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(publishing, "__file__", str(installed))
    assert publishing._commit() == ""
    subprocess.run([*git, "add", "--force", installed], check=True)
    assert len(publishing._commit()) == 12
