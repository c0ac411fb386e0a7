"""8-bit ranges and what lower precision costs."""

import numpy as np
import pytest
from tests.helpers.networks import random_weights
from tests.helpers.recipes import recipe

from msrn.network.config import MSRNConfig
from msrn.network.graph import fuse
from msrn.restoration.backends import Choice, Processor, create
from msrn.system.machine import instructions
from msrn.training.calibrate import Rounded, measure
from msrn.training.held_out import HeldOut

CONFIG = MSRNConfig(2, 2, 6)
WEIGHTS = random_weights("denoise", CONFIG, seed=2)
RECIPE = recipe(network__channels=6, growth=None, data__validation_levels=[20, 40], optimiser={"steps": 1})


def test_every_place_gets_a_range_that_its_inputs_rarely_leave(data_folder):
    lower = measure(WEIGHTS, RECIPE, data_folder, harmless=100)
    assert len(lower.ranges) == 2 * 2 * 2 + (1 + 2) + (2 + 2)
    assert all(top > 0 for top in lower.ranges.values())
    assert lower.losses.keys() == {"int8", "bf16"}
    for losses in lower.losses.values():
        assert losses.keys() == {"20", "40"}
        assert all(abs(loss) < 1 for loss in losses.values())
    assert lower == measure(WEIGHTS, RECIPE, data_folder, harmless=100)


def test_gates_stay_in_floating_point_where_rounding_costs_too_much(data_folder):
    lower = measure(WEIGHTS, RECIPE, data_folder, harmless=-100)
    assert {place.split(".")[1] for place in lower.ranges} == {"first", "second"}


@pytest.mark.skipif(
    not {"avx512_vnni", "avx_vnni"} & instructions(), reason="sums of 8-bit products overflow without VNNI"
)
def test_the_losses_are_those_of_what_openvino_computes(data_folder):
    pytest.importorskip("openvino")
    ranges = measure(WEIGHTS, RECIPE, data_folder).ranges
    graph = fuse(CONFIG, WEIGHTS.arrays)
    x = np.random.default_rng(1).random((1, 1, 40, 40), dtype=np.float32)
    exact = create(Choice("eager", "fp32"), graph, {}, Processor())(x)
    predicted = Rounded(graph, ranges)(x) - exact
    real = create(Choice("openvino", "int8"), graph, ranges, Processor())(x) - exact
    assert np.std(predicted) > 1e-4
    # Half-way cases are rounded either way, so the two agree in all but a little of the error.
    assert np.std(real - predicted) < 0.5 * np.std(predicted)


def test_the_image_itself_is_not_rounded_to_bf16():
    graph = fuse(MSRNConfig(1, 1, 4), random_weights("denoise", MSRNConfig(1, 1, 4), seed=1).arrays)
    x = np.full((1, 1, 16, 16), 0.7512, dtype=np.float32)
    near = x + np.float32(2**-10)  # the same in bf16
    for choice in (Choice("eager", "bf16"), Choice("openvino", "bf16"), Choice("openvino", "int8-bf16")):
        if choice.backend == "openvino":
            pytest.importorskip("openvino")
        backend = create(choice, graph, {"0.second.0": 4.0}, Processor())
        assert np.abs(backend(x) - backend(near)).max() > 0


def test_networks_that_work_on_squares_of_pixels_are_measured_alike(data_folder):
    weights = random_weights("denoise", MSRNConfig(1, 1, 6, unshuffle=2), seed=2)
    lower = measure(weights, RECIPE, data_folder)
    assert {"0.first.0", "0.second.0"} <= lower.ranges.keys()
    assert all(0 < abs(loss) < 1 for losses in lower.losses.values() for loss in losses.values())


def test_a_loss_is_what_the_exact_network_scores_more_and_the_best_quantile_is_kept(data_folder, monkeypatch):
    scores = iter([30.0, 28.0, 29.99, 29.0, 29.5])  # exact, three quantiles, bf16
    monkeypatch.setattr(HeldOut, "score", lambda *_: {"20": next(scores)})
    assert measure(WEIGHTS, RECIPE, data_folder).losses == {"int8": {"20": 0.01}, "bf16": {"20": 0.5}}
