"""What a run consists of: its parts follow the recipe, are saved and come back."""

import copy

import pytest
import torch
from tests.helpers.networks import random_network
from tests.helpers.recipes import one_step, recipe

from msrn.network.config import MSRNConfig
from msrn.network.memnet import grow
from msrn.training import state as runs
from msrn.training.recipe import forbidden_changes
from msrn.training.setting import Setting


def started(**changes):
    return runs.start_run(recipe(**changes), None, Setting())


def test_the_average_follows_quickly_at_first():
    old, new = (random_network(MSRNConfig(1, 1, 2), seed=seed) for seed in (0, 1))
    average = random_network(MSRNConfig(1, 1, 2), seed=0)
    runs.update_average(average, new, 0, 0.999)
    expected = 0.1 * old.extract_norm.weight + 0.9 * new.extract_norm.weight  # (1 + 0) / (10 + 0) of the old one
    assert torch.allclose(average.extract_norm.weight, expected)


def test_a_network_that_grows_takes_its_average_along():
    plan = recipe()
    run = runs.start_run(plan, None, Setting())
    for parameter in run.average.parameters():
        parameter.data += 1
    expected = grow(run.average, plan.network.recursions).state_dict()
    bigger = runs.grow_run(run, plan.network, plan.optimiser, Setting()).average.state_dict()
    assert all(torch.equal(bigger[name], tensor) for name, tensor in expected.items())


def test_statistics_frozen_before_a_run_was_prolonged_stay_frozen():
    old, new = recipe(growth=None), recipe(growth=None, optimiser__freeze_batchnorm_step=3)
    assert forbidden_changes(old, new, 5) == ["optimiser.freeze_batchnorm_step: 7 -> 3"]
    assert forbidden_changes(old, new, 3) == []


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
        one_step(run, plan, clean, clean + 0.1)
    monkeypatch.setattr(runs, "instructions", lambda: frozenset({"avx512f"}))
    moved = runs.resume_run(copy.deepcopy(runs.state_of(run, plan)), plan, Setting())
    assert moved.network.get_parameter("blocks.0.conv1.weight").stride() != (27, 9, 3, 1)
    for each in (run, moved):
        one_step(each, plan, clean, clean + 0.1)
    for (name, expected), found in zip(run.network.named_parameters(), moved.network.parameters(), strict=True):
        if expected.ndim == 4:  # before a BatchNorm, a bias has no gradient but rounding
            assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5), name


def test_the_best_score_is_remembered():
    plan = recipe(growth=None)
    run = runs.start_run(plan, None, Setting())
    run.best = 33.0
    assert runs.resume_run(runs.state_of(run, plan), plan, Setting()).best == 33
