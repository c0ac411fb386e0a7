"""Recipes are typed and strict."""

import json
from pathlib import Path

import pytest

from msrn.errors import UsageError
from msrn.training.recipe import OptimiserRecipe
from msrn.training.recipe_file import PACKAGED, load, schema, validate
from msrn.training.state import forbidden_changes

RECIPES = sorted(PACKAGED.glob("*.toml"))
SMALL = {
    "name": "small",
    "task": "sr",
    "data": {"folders": ["a"], "validation_levels": [2]},
    "optimiser": {"steps": 10, "decay_steps": 5},
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_published_recipes_load_and_are_named_after_their_file(path):
    assert load(path).name == path.stem


def test_recipes_of_the_package_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sr_s2").mkdir()  # a folder is no recipe
    assert load(Path("sr_s2")) == load(Path("sr_s2.toml")) == load(PACKAGED / "sr_s2.toml")
    (tmp_path / "sr_s2.toml").write_text((PACKAGED / "jpeg_s2.toml").read_text(encoding="utf-8"))
    assert load(Path("sr_s2.toml")).name == "jpeg_s2"  # one's own comes first
    for name in ("sr_s3", "sr_s2.json"):
        with pytest.raises(UsageError, match=rf"'{name}'.*denoise_fast, .*sr_s2"):
            load(Path(name))


def test_the_schema_that_editors_read_is_current():
    """``msrn schema > src/msrn/training/recipes/schema.json`` after a change of the recipes' classes."""
    assert json.loads((RECIPES[0].parent / "schema.json").read_text(encoding="utf-8")) == schema()
    assert schema()["$defs"]["OptimiserRecipe"]["properties"]["momentum"]["description"] == "Of SGD."
    for path in RECIPES:
        assert path.read_text(encoding="utf-8").startswith("#:schema schema.json\n"), path.name


def test_the_papers_recipe_is_the_papers():
    """Section 4 of the paper and the authors' Caffe files."""
    recipe = load(RECIPES[0].parent / "sr_paper.toml")
    network, options = recipe.network, recipe.optimiser
    assert (network.memory_blocks, network.recursions, network.channels, network.ensemble_start) == (6, 6, 64, 1)
    assert (recipe.data.patch, recipe.data.levels, recipe.loss.kind, recipe.loss.intermediate_weight) == (
        31,
        (2, 3, 4),
        "l2",
        1,
    )
    assert (options.kind, options.momentum, options.weight_decay) == ("sgd", 0.9, 1e-4)
    assert [options.rate_at(step) for step in (0, 199_999, 200_000, 400_000)] == pytest.approx([0.1, 0.1, 0.01, 1e-3])
    assert [options.clip_at(options.rate_at(step)) for step in (0, 200_000)] == pytest.approx([0.1, 1.0])


def test_one_cycle_rises_to_the_rate_and_falls_to_almost_nothing():
    options = OptimiserRecipe(rate=1, steps=100, warmup_steps=20, schedule="one_cycle")
    rates = [options.rate_at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.04)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20] == 1
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[60] == pytest.approx(0.5, abs=1e-4)
    assert rates[100] == pytest.approx(4e-6)


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("optimiser.schedule=step", "decay_steps"),
        ("optimiser.accumulate=3", "multiple"),
        ("optimiser.momentum=1", "less than 1"),
        ("growth.step=10", "below optimiser.steps"),
        ("optimiser.schedule=one_cycle", "never reaches"),
        ("loss.reduction=sum", "patch"),
        ("network.recursions=1000000", "at most 1,000 memory_blocks × recursions"),
        ("network.channels=1000000", "about 1,000,000,000 parameters"),
        ("network.unshuffle=1000000", "about 1,000,000,000 parameters"),
        ("data.common_noise=1", "common_noise is for noise in colours"),
        ('data.subsampling=["4:4:4"]', "subsampling is for JPEGs of colours"),
    ],
)
def test_schedules_and_parts_that_do_not_fit_are_refused(override, word, tmp_path):
    (tmp_path / "r.toml").write_text(
        """
        name = "r"
        task = "sr"
        data = { folders = ["a"], validation_levels = [2] }
        optimiser = { steps = 10, batch = 16 }
        """
    )
    with pytest.raises(UsageError, match=word):
        load(tmp_path / "r.toml", [override])


@pytest.mark.parametrize("name", ["photo", "photo_sr"])
def test_what_is_degraded_anew_for_each_patch_is_not_kept_degraded(name):
    with pytest.raises(UsageError, match="resident degrades images once"):
        load(Path(name), ["data.resident=true"])


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("network.chanels=3", "network.channels"),
        ("optimizer.rate=1", "optimiser"),
        ("batch_size=3", "optimiser.batch"),
        ("epochs=3", "optimiser.steps"),
        ("optimiser.lr=3", "optimiser.rate"),
        ("freeze_batchnorm=3", "optimiser.freeze_batchnorm_step"),
        ("data.patch_size=3", "data.patch"),
        ("sed=3", "seed"),
        ("growth.stp=3", "growth.step"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(override, nearest):
    with pytest.raises(UsageError, match=f"did you mean '{nearest}"):
        load(RECIPES[0], [override])


def test_a_key_like_none_gets_no_suggestion():
    with pytest.raises(UsageError, match="unknown key 'wibble'; `msrn schema` lists"):
        load(RECIPES[0], ["wibble=3"])


@pytest.mark.parametrize(
    "override",
    [
        "seed='3'",
        "seed=true",
        "network.channels='8'",
        "network.multi_supervised=1",
        "network.multi_supervised=no",
        "data.folders=Pictures",
        "data.folders=[]",
        "data.validation_levels=[]",
        "optimiser.freeze_batchnorm_step=-5",
        "optimiser.rate=2024-01-01",
    ],
)
def test_types_are_strict(override):
    with pytest.raises(UsageError, match=override.partition("=")[0]):
        load(RECIPES[0], [override])


def test_optional_values_can_be_taken_back():
    path = next(path for path in RECIPES if "growth" in path.read_text())
    assert load(path).growth is not None
    assert load(path, ["growth=none"]).growth is None


def test_overrides_take_toml_values_and_bare_words():
    recipe = load(RECIPES[0], ["network.channels=8", "loss.kind=l2", "data.levels=[2, 4]", "name='other'"])
    assert recipe.network.channels == 8
    assert recipe.loss.kind == "l2"
    assert recipe.data.levels == (2, 4)
    assert recipe.name == "other"


@pytest.mark.parametrize(
    "override", ["", "seed", "=3", "name.x=3", "network.channels=0", "network.channels=many", "loss.kind=l3"]
)
def test_overrides_that_do_not_fit_are_refused(override):
    with pytest.raises(UsageError):
        load(RECIPES[0], [override])


def test_files_that_are_no_recipe_are_named(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    for path in (broken, tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(UsageError, match=path.name):
            load(path)
    (tmp_path / "latin.toml").write_bytes("name = 'é'".encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin\.toml is not valid TOML"):
        load(tmp_path / "latin.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(UsageError, match="name: Field required"):
        load(tmp_path / "empty.toml")


def test_contradictions_are_refused():
    with pytest.raises(UsageError, match="decay_steps"):
        validate(SMALL | {"optimiser": {"steps": 10, "decay_steps": 11}}, "here")
    with pytest.raises(UsageError, match=r"growth\.start"):
        validate(SMALL | {"network": {"recursions": 2}, "growth": {"start": 3, "step": 5}}, "here")


@pytest.mark.parametrize(
    ("task", "key", "level"),
    [
        ("sr", "levels", 0),
        ("sr", "levels", 0.5),
        ("sr", "validation_levels", 0),
        ("denoise", "levels", -1),
        ("denoise", "validation_levels", float("inf")),
        ("denoise", "validation_levels", float("nan")),
        ("jpeg", "levels", 0),
        ("jpeg", "levels", 101),
    ],
)
def test_levels_that_the_task_does_not_have_are_refused(task, key, level):
    values = {"folders": ["a"], "validation_levels": [20], key: [20, level]}
    with pytest.raises(UsageError, match=rf"data\.{key}"):
        validate(SMALL | {"task": task, "data": values}, "here")


@pytest.mark.parametrize(("task", "levels"), [("sr", [1, 2.5, 8]), ("denoise", [0, 0.5, 200]), ("jpeg", [1, 100])])
def test_levels_at_the_ends_of_the_range_are_taken(task, levels):
    data = {"folders": ["a"], "levels": levels, "validation_levels": levels}
    assert validate(SMALL | {"task": task, "data": data}, "here").data.levels == tuple(levels)


@pytest.mark.parametrize("change", [{"seed": -1}, {"name": "a/b"}, {"name": ""}, {"checkpoint_minutes": float("inf")}])
def test_values_that_no_run_can_have_are_refused(change):
    with pytest.raises(UsageError, match=next(iter(change))):
        validate(SMALL | change, "here")


def test_recipes_survive_the_way_through_a_checkpoint():
    for path in RECIPES:
        recipe = load(path)
        assert validate(recipe.model_dump(mode="json"), "back") == recipe


def test_batchnorms_freeze_at_their_step_or_never():
    options = validate(SMALL, "here").optimiser
    assert not any(options.frozen_at(step) for step in range(20))
    options = options.model_copy(update={"freeze_batchnorm_step": 3})
    assert [options.frozen_at(step) for step in range(5)] == [False, False, False, True, True]


def test_changes_that_a_resumed_run_does_not_take_are_named():
    old = validate(SMALL, "old")
    new = validate(SMALL | {"seed": 4, "growth": {"step": 2}, "keep": 9}, "new")
    assert forbidden_changes(old, old, 1) == []
    named = forbidden_changes(old, new, 1)
    assert not any(line.startswith("keep") for line in named)
    assert "seed: 0 -> 4" in named
    assert any(line.startswith("growth") for line in named)
