"""8-bit ranges and what lower precision costs."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.networks import random_network

from msrn.network.config import MSRNConfig
from msrn.network.graph import fuse
from msrn.restoration.backends import Choice, create
from msrn.training import calibrate
from msrn.training.calibrate import Rounded, measure
from msrn.training.recipe import validate

CONFIG = MSRNConfig(2, 2, 6)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        small = Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8))
        small.resize((64, 64), Image.Resampling.BICUBIC).save(root / "images" / f"{index}.png")
    return root


RECIPE = validate(
    {
        "name": "tiny",
        "task": "denoise",
        "network": {"memory_blocks": 2, "recursions": 2, "channels": 6},
        "data": {"folders": ["images"], "patch": 12, "validation_every": 4, "validation_levels": [20, 40]},
        "optimiser": {"steps": 1},
    },
    "test",
)


def test_every_place_gets_a_range_that_its_inputs_rarely_leave(data_root, monkeypatch):
    monkeypatch.setattr(calibrate, "HARMLESS", 100)
    lower = measure(random_network(CONFIG, seed=2), RECIPE, data_root)
    assert len(lower.ranges) == 2 * 2 * 2 + (1 + 2) + (2 + 2)
    assert all(top > 0 for top in lower.ranges.values())
    assert lower.losses.keys() == {"int8", "bf16"}
    for losses in lower.losses.values():
        assert losses.keys() == {"20", "40"}
        assert all(abs(loss) < 1 for loss in losses.values())
    assert lower == measure(random_network(CONFIG, seed=2), RECIPE, data_root)


def test_gates_stay_in_floating_point_where_rounding_costs_too_much(data_root, monkeypatch):
    monkeypatch.setattr(calibrate, "HARMLESS", -100)
    lower = measure(random_network(CONFIG, seed=2), RECIPE, data_root)
    assert {place.split(".")[1] for place in lower.ranges} == {"first", "second"}


def test_the_losses_are_those_of_what_openvino_computes(data_root):
    pytest.importorskip("openvino")
    network = random_network(CONFIG, seed=2)
    ranges = measure(network, RECIPE, data_root).ranges
    fused = fuse(network)
    x = np.random.default_rng(1).random((1, 1, 40, 40), dtype=np.float32)
    exact = create(Choice("eager", "fp32"), fused, {}, torch.device("cpu"))(x)
    predicted = Rounded(fused, ranges)(x) - exact
    real = create(Choice("openvino", "int8"), fused, ranges, torch.device("cpu"))(x) - exact
    assert np.std(predicted) > 1e-4
    # Half-way cases are rounded either way, so the two agree in all but a little of the error.
    assert np.std(real - predicted) < 0.5 * np.std(predicted)


def test_the_image_itself_is_not_rounded_to_bf16():
    network = random_network(MSRNConfig(1, 1, 4), seed=1)
    fused = fuse(network)
    x = np.full((1, 1, 16, 16), 0.7512, dtype=np.float32)
    near = x + np.float32(2**-10)  # the same in bf16
    for choice in (Choice("eager", "bf16"), Choice("openvino", "bf16"), Choice("openvino", "int8-bf16")):
        if choice.backend == "openvino":
            pytest.importorskip("openvino")
        backend = create(choice, fused, {"0.second.0": 4.0}, torch.device("cpu"))
        assert np.abs(backend(x) - backend(near)).max() > 0


def test_networks_that_work_on_squares_of_pixels_are_measured_alike(data_root):
    network = random_network(MSRNConfig(1, 1, 6, unshuffle=2), seed=2)
    lower = measure(network, RECIPE, data_root)
    assert {"0.first.0", "0.second.0"} <= lower.ranges.keys()
    assert all(0 < abs(loss) < 1 for losses in lower.losses.values() for loss in losses.values())


def test_a_loss_is_what_the_exact_network_scores_more(data_root, monkeypatch):
    def score(network, *_):
        return {"20": 29.0 if isinstance(network, calibrate._Scored) else 30.0}

    monkeypatch.setattr(calibrate, "validate_network", score)
    losses = calibrate.measure(random_network(CONFIG, seed=2), RECIPE, data_root).losses
    assert losses == {"int8": {"20": 1.0}, "bf16": {"20": 1.0}}


def test_the_ranges_of_the_best_quantile_are_kept(data_root, monkeypatch):
    scores = iter([30.0, 28.0, 29.99, 29.0, 30.0])  # exact, three quantiles, bf16
    monkeypatch.setattr(calibrate, "validate_network", lambda *_: {"20": next(scores)})
    assert calibrate.measure(random_network(CONFIG, seed=2), RECIPE, data_root).losses["int8"] == {"20": 0.01}
