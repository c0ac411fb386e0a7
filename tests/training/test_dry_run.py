"""What a run shows of itself: TensorBoard's curves and pictures, and the forecast before it starts."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.helpers.recipes import recipe, train

from msrn.network.config import MSRNConfig
from msrn.network.memnet import MSRN
from msrn.training import dry_run
from msrn.training.loader import load_material
from msrn.training.setting import Setting

RECIPE = recipe(growth={"start": 1, "step": 2}, data__patch=16, optimiser={"batch": 2, "steps": 6}, evaluate_every=3)


def test_tensorboard_has_curves_pictures_and_the_ensemble(data_folder, tmp_path):
    train(RECIPE, data_folder, tmp_path, tensorboard=True)
    code = """
import json, sys, warnings
warnings.simplefilter("ignore")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
tags = events.Tags()
print(json.dumps({tag: [e.step for e in events.Scalars(tag)] for tag in tags["scalars"]} | {
    tag: [(e.step, e.width, e.height) for e in events.Images(tag)] for tag in tags["images"]}))
"""
    process = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "tensorboard"], check=True, capture_output=True, text=True
    )
    found = json.loads(process.stdout)
    assert found["held-out PSNR/20"] == [0, 3, 6]
    assert found["ensemble/w_1"] == found["ensemble/w_2"] == [0, 3, 6]
    assert found["training/gradient norm"] == [3, 6]
    assert found["degraded, restored, clean/20"] == [[step, 216, 72] for step in (0, 3, 6)]


def test_without_tensorboard_the_extra_is_named(data_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(Exception, match=r"python -m pip install .*\[train\]"):
        train(RECIPE, data_folder, tmp_path, tensorboard=True)


def test_the_sheet_shows_the_runs_first_patches(data_folder):
    material = load_material(RECIPE, data_folder, torch.device("cpu"))
    drawn = dry_run.sheet(material, 4, pairs=3)
    assert drawn.shape == (1, 32, 48)
    degraded, clean = material.sampler.batch(0, 4)
    assert np.array_equal(drawn[0, :16, 16:32], degraded[1, 0].clip(0, 1))
    assert np.array_equal(drawn[0, 16:, 16:32], clean[1, 0])


def test_the_forecast_counts_both_phases_of_a_growing_run(data_folder):
    """Two steps of 0.1 + 0.9 s before growing, four of 0.1 + 1.9 s after."""
    times = {1: (0.1, 0.9), 2: (0.1, 1.9)}
    material = load_material(RECIPE, data_folder, torch.device("cpu"))
    timed = lambda run, *_: times[run.network.config.recursions]  # noqa: E731
    expected = dry_run.forecast_training(RECIPE, material, Setting(), timed)
    assert expected.hours == pytest.approx((2 * 1.0 + 4 * 2.0) / 3600)
    assert expected.patches_per_second == pytest.approx(1.0)
    assert expected.data_share == pytest.approx(0.05)
    assert expected.epochs == pytest.approx(12 / material.sampler.samples_per_epoch)
    assert expected.parameters == sum(p.numel() for p in MSRN(MSRNConfig(2, 2, 3)).parameters())


def test_a_forecast_is_measured(data_folder):
    material = load_material(RECIPE, data_folder, torch.device("cpu"))
    expected = dry_run.forecast_training(RECIPE, material, Setting())
    assert 0 < expected.hours < 1
    assert 0 < expected.data_share < 1
    assert expected.peak_bytes > 50e6


def test_a_forecast_does_without_the_peak_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert dry_run.peak_bytes(torch.device("cpu")) == 0
