"""What several tests of training share: a tiny recipe, runs of it, and how they are compared."""

import torch

from msrn.training.recipe import Recipe
from msrn.training.recipe_file import validate
from msrn.training.setting import Computing
from msrn.training.state import TrainingRun
from msrn.training.trainer import Step, fit, train_step


def recipe(**changes) -> Recipe:
    """A run of 12 steps: grows after step 4, freezes BatchNorms from step 7. Changes are given as ``section__key``."""
    values = {
        "name": "tiny",
        "task": "denoise",
        "network": {"memory_blocks": 2, "recursions": 2, "channels": 3},
        "growth": {"start": 1, "step": 4},
        "data": {"folders": ["images"], "patch": 12, "validation_every": 4, "validation_levels": [20]},
        "optimiser": {"batch": 2, "steps": 12, "decay_steps": 4, "warmup_steps": 2, "freeze_batchnorm_step": 7},
        "evaluate_every": 5,
    }
    for key, value in changes.items():
        section, _, leaf = key.partition("__")
        values[section] = values[section] | {leaf: value} if leaf else value
    return validate(values, "test")


def train(plan: Recipe, data, folder, *, precision="fp32", compiled=False, **options) -> TrainingRun:
    """Fit on the processor."""
    return fit(plan, data, folder, Computing("cpu", precision, compiled), **options)


def one_step(run: TrainingRun, clean, degraded) -> Step:
    """Take a step on one batch."""
    return train_step(run, [(degraded, clean)])


def tensors_of(run: TrainingRun) -> dict:
    """What a run has learnt and what it goes on with."""
    return {"network": run.network.state_dict(), "average": run.average.state_dict(), **run.optimiser.state_dict()}


def assert_same(one, other, path=""):
    """Compare nested states bit for bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list):
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{path}/{index}")
    else:
        assert one == other, path
