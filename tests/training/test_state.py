"""What a run consists of: its parts follow the recipe, are saved and come back."""

import copy

import pytest
import torch
from tests.helpers.networks import random_weights
from tests.helpers.recipes import one_step, recipe

from msrn.errors import WeightsError
from msrn.network.config import MSRNConfig
from msrn.network.growth import grow
from msrn.training import state as runs
from msrn.training.setting import Setting


def started(**changes):
    return runs.start_run(recipe(**changes), None, Setting())


def test_the_average_follows_quickly_at_first():
    run = started()
    old, new = run.average.extract_norm.weight.clone(), torch.full_like(run.network.extract_norm.weight, 7)
    run.network.extract_norm.weight.data.copy_(new)
    run.update_average()
    assert torch.allclose(run.average.extract_norm.weight, 0.1 * old + 0.9 * new)  # (1 + 0) / (10 + 0) of the old one


def test_a_network_that_grows_takes_its_average_along():
    plan = recipe()
    run = runs.start_run(plan, None, Setting())
    for parameter in run.average.parameters():
        parameter.data += 1
    expected = grow(run.average, runs.network_config(plan.network)).state_dict()
    run.grow()
    bigger = run.average.state_dict()
    assert all(torch.equal(bigger[name], tensor) for name, tensor in expected.items())


def test_new_recursions_are_measured_once_in_both_networks():
    run = started(optimiser__freeze_batchnorm_step=0)
    assert run.is_measured
    run.grow()
    assert not run.is_measured
    run.measure([torch.rand(2, 1, 12, 12) for _ in range(2)])
    assert run.is_measured
    for network in (run.network, run.average):
        variances = [norm.running_var for norm in network.blocks[0].norm1]
        assert not torch.equal(variances[-1], variances[0])
    fewer = random_weights("denoise", MSRNConfig(2, 1, 3))
    begun = runs.start_run(recipe(growth=None, optimiser__freeze_batchnorm_step=0), fewer, Setting())
    assert not begun.is_measured
    learning = started()  # they see by themselves
    learning.grow()
    assert learning.is_measured


def test_statistics_frozen_before_a_run_was_prolonged_stay_frozen():
    old, new = recipe(growth=None), recipe(growth=None, optimiser__freeze_batchnorm_step=3)
    assert runs.forbidden_changes(old, new, 5) == ["optimiser.freeze_batchnorm_step: 7 -> 3"]
    assert runs.forbidden_changes(old, new, 3) == []


def test_the_recipe_reaches_the_run():
    one, other = (started(seed=seed).network.extract.weight for seed in (1, 2))
    assert not torch.equal(one, other)
    norms = [m for m in started(network__batchnorm_momentum=0.25).network.modules() if hasattr(m, "momentum")]
    assert {norm.momentum for norm in norms} == {0.25}
    optimiser = started(optimiser__kind="adamw", optimiser__weight_decay=0.5).optimiser
    assert optimiser.param_groups[0]["weight_decay"] == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_run_goes_on_in_the_layout_of_another_machine(monkeypatch, kind):
    """A fused optimiser pairs weights with moments by their place in memory."""
    plan = recipe(growth=None, optimiser__kind=kind)
    clean = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(runs, "instructions", frozenset)
    run = runs.start_run(plan, None, Setting())
    for _ in range(3):
        one_step(run, clean, clean + 0.1)
    monkeypatch.setattr(runs, "instructions", lambda: frozenset({"avx512f"}))
    moved = runs.resume_run(copy.deepcopy(run.state()), plan, Setting())
    assert moved.network.get_parameter("blocks.0.conv1.weight").stride() != (27, 9, 3, 1)
    for each in (run, moved):
        one_step(each, clean, clean + 0.1)
    for (name, expected), found in zip(run.network.named_parameters(), moved.network.parameters(), strict=True):
        if expected.ndim == 4:  # before a BatchNorm, a bias has no gradient but rounding
            assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5), name


def test_the_best_score_is_remembered():
    plan = recipe(growth=None)
    run = runs.start_run(plan, None, Setting())
    run.best = 33.0
    assert runs.resume_run(run.state(), plan, Setting()).best == 33


def hostile(change):
    """A checkpoint's state with one thing changed."""
    state = copy.deepcopy(runs.start_run(recipe(growth=None), None, Setting()).state())
    section, _, key = change[0].partition(".")
    (state[section] if key else state)[key or section] = change[1]
    return state


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("recursions", 10**6), "no step 0 with 1000000 recursions"),
        (("recursions", 0), "with 0 recursions"),
        (("step", 10**12), "no step 1000000000000"),
        (("step", -1), "no step -1"),
        (("recipe.network", {"recursions": 10**6}), "at most 1,000 memory_blocks"),
        (("recipe.network", {"recursions": 1000, "memory_blocks": 1}), "its network is not one of M1R2"),
        (("recipe.name", 3), "name"),
        (("network", {}), "its network is not one of M2R2C3"),
        (("average", {"extract.weight": 1}), "it is none that a run leaves"),
    ],
)
def test_a_hostile_checkpoint_is_refused_before_a_network_is_made(change, said, monkeypatch):
    state = hostile(change)
    monkeypatch.setattr(runs, "MSRN", lambda config: pytest.fail(f"made {config}"))
    with pytest.raises(WeightsError, match="none that a run leaves") as caught:
        runs.resume_run(state, None, Setting())
    assert said in str(caught.value) or said.startswith("it is none")
    assert caught.value.exit_code == 4


def test_moments_of_another_shape_are_refused():
    run = started(growth=None)
    one_step(run, torch.rand(2, 1, 12, 12), torch.rand(2, 1, 12, 12))
    state = copy.deepcopy(run.state())
    next(iter(state["optimiser"]["state"].values()))["exp_avg"] = torch.ones(99, 99)
    with pytest.raises(WeightsError, match="exp_avg has shape"):
        runs.resume_run(state, None, Setting())
