"""Beyond a factor of 4, what the network made is interpolated; tiles are exact, and it is said."""

import numpy as np
import pytest
from tests.helpers.networks import random_weights

from msrn.images.picture import Picture
from msrn.images.resize import resize
from msrn.network.config import MSRNConfig
from msrn.restoration.autotune import Tuned
from msrn.restoration.restorer import Restorer
from msrn.restoration.steps import steps_to

HOW = {"device": "cpu", "backend": "eager", "precision": "fp32"}


@pytest.fixture(scope="module")
def restorer():
    return Restorer(random_weights("sr", MSRNConfig(1, 1, 4, unshuffle=2), 2), **HOW)


def picture(height=11, width=14, channels=3, alpha=False):
    rng = np.random.default_rng(0)
    covered = rng.random((1, height, width), dtype=np.float32) if alpha else None
    return Picture(rng.random((channels, height, width), dtype=np.float32), covered)


@pytest.mark.parametrize(
    ("how", "network", "interpolated"),
    [
        ({}, (22, 28), None),
        ({"scale": 4}, (44, 56), None),
        ({"scale": 8}, (44, 56), (88, 112)),
        ({"scale": 4.3}, (44, 56), (48, 61)),
        ({"scale": 40}, (44, 56), (440, 560)),
        ({"size": (44, 30)}, (44, 30), None),
        ({"size": (88, 30)}, (44, 30), (88, 30)),
        ({"size": (None, 112)}, (44, 56), (88, 112)),
    ],
)
def test_the_network_enlarges_by_4_at_most_and_the_end_is_what_was_asked_for(restorer, how, network, interpolated):
    steps = steps_to(picture(), **how)
    assert steps.network.size == network
    assert (steps.interpolation and steps.interpolation.size) == interpolated
    said = f"by the network to {network[1]}×{network[0]} (×4), from there interpolated: nothing finer is known"
    assert str(steps) == (said if interpolated else "")
    made = restorer(picture(), **how)
    assert (made.height, made.width) == (interpolated or network)


@pytest.mark.parametrize(("channels", "alpha"), [(1, False), (3, False), (3, True)])
def test_the_result_is_the_networks_interpolated(restorer, channels, alpha):
    small = picture(channels=channels, alpha=alpha)
    made, near = restorer(small, scale=8), restorer(small, scale=4)
    np.testing.assert_allclose(made.pixels, resize(near.pixels, size=(88, 112)), atol=1e-6)
    if alpha:
        assert np.array_equal(made.alpha, resize(near.alpha, size=(88, 112)).clip(0, 1))


def test_tiles_make_no_difference(restorer):
    small = picture(40, 50)
    whole, cut = restorer(small, scale=6), restorer.with_options(tile=64)(small, scale=6)
    np.testing.assert_allclose(whole.pixels, cut.pixels, atol=3e-6)


def test_the_forecast_counts_what_the_network_computes(restorer):
    timed = Restorer(restorer.weights, **HOW)
    vars(timed.engine)["_timed"] = Tuned(timed.engine.tuned.choice, {96: 1e-5, 192: 1e-5})
    small = picture(40, 50)
    far, near = timed.forecast(small, scale=8), timed.forecast(small, scale=4)
    assert far.seconds == pytest.approx(near.seconds, rel=0.15)
