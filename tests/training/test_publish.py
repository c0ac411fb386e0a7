"""A run becomes a weights file: the averaged network, with a card that says where it comes from."""

import json
import math
import subprocess

import numpy as np
import pytest
import torch
from tests.helpers.recipes import recipe, train

from msrn.errors import UsageError, WeightsError
from msrn.network.weights import load
from msrn.training.publish import curve, publish, revision
from msrn.training.state import read_run


@pytest.fixture(scope="module")
def run(data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(recipe(), data_folder, folder)
    return folder


def test_publishing_gives_the_averaged_network_with_its_card(run, data_folder, tmp_path):
    state = read_run(run / "best.ckpt")  # which step scored best depends on the processor's rounding
    path, card = publish(run, tmp_path, data_name="toy", scores_on=[data_folder / "images"], levels=[15])
    assert path.name.startswith("MSRN_M2R2C3_denoise-toy-")
    loaded = load(path)
    assert loaded.card == card
    assert card.training["patches"] == 2 * state.step
    assert card.recipe["optimiser"]["steps"] == 12
    assert math.isfinite(card.scores["images"]["15"]["mean"]["psnr"])
    for key, tensor in state.average.state_dict().items():
        assert np.array_equal(loaded.arrays[key], tensor), key
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
    before, after = (load(path).arrays for path in (whole, halved))
    for key, array in after.items():
        expected = before[key].astype(np.float16) if array.ndim == 4 else before[key]
        assert array.dtype == expected.dtype, key
        assert np.array_equal(array, expected), key
    completed, fuller = publish(halved, tmp_path / "again", scores_on=[data_folder / "images"], levels=[15])
    assert fuller.scores
    assert publish(completed, tmp_path / "third", half=True)[1] == fuller  # nothing is left to round
    assert load(completed).storage == "float16"


def test_scores_at_another_level_are_added_to_those_of_the_set(run, data_folder, tmp_path):
    first, _ = publish(run, tmp_path, scores_on=[data_folder / "images"], levels=[15])
    _, card = publish(first, tmp_path / "again", scores_on=[data_folder / "images"], levels=[25])
    assert card.scores["images"].keys() == {"15", "25"}


def test_a_thinned_curve_ends_with_what_is_published(tmp_path):
    for count in (1, 60, 62, 150):
        rows = [{"step": 10 * k, "seconds": 1.0, "scores": {"2": 30.0}} for k in range(count + 5)]
        (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        points = curve(tmp_path, 10 * (count - 1))
        assert points[-1][0] == 10 * (count - 1)
        assert len(points) <= 60
        assert points == sorted(points)


def test_a_run_that_has_not_grown_is_not_published(data_folder, tmp_path):
    train(recipe(), data_folder, tmp_path, minutes=1e-9)
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


def test_the_revision_is_this_projects_own(tmp_path):
    """Installed into somebody's working tree, where git ignores it, it has none."""
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    installed = tmp_path / ".venv" / "publish.py"
    installed.parent.mkdir()
    installed.write_text("")
    (tmp_path / ".gitignore").write_text(".venv")
    for command in (["init", "--quiet"], ["add", ".gitignore"], ["commit", "--quiet", "-m", "theirs"]):
        subprocess.run([*git, *command], check=True)
    assert revision(installed) == ""
    subprocess.run([*git, "add", "--force", installed], check=True)
    assert len(revision(installed)) == 12
