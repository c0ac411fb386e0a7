"""Less effort reaches every network that restores, and a deadline is shared by them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.networks import random_network, weights_of

from msrn.errors import UsageError
from msrn.images.picture import Picture
from msrn.network.config import MSRNConfig
from msrn.network.effort import shortened
from msrn.restoration.autotune import Tuned
from msrn.restoration.chain import Chain
from msrn.restoration.restorer import Restorer

HOW = {"device": "cpu", "backend": "openvino", "precision": "fp32"}


def whole(task="jpeg", channels=1, blocks=3):
    network = random_network(MSRNConfig(blocks, 1, 4, channels, unshuffle=2))
    network.ensemble.data.copy_(torch.tensor([0.2, 0.3, 0.6])[:blocks])
    return weights_of(network, task)


def timed(engine, seconds_per_pixel):
    """The engine, as if it had been timed."""
    vars(engine)["_timed"] = Tuned(engine.tuned.choice, {96: seconds_per_pixel, 192: seconds_per_pixel})
    return engine


def test_the_network_for_colours_ends_as_early():
    for restorer in (Restorer("jpeg", effort=2, **HOW), Restorer("jpeg", **HOW).with_effort(2)):
        assert [engine.config.memory_blocks for engine in restorer.engines] == [2, 2]
        assert [engine.config.in_channels for engine in restorer.engines] == [1, 3]
        assert all(engine.weights.name.endswith("(effort 2 of 4)") for engine in restorer.engines)
    assert Restorer("jpeg", effort=4, **HOW).color_engine.config.memory_blocks == 4


def test_other_efforts_keep_the_options_and_are_made_once():
    restorer = Restorer(whole(), tile=96, strength=0.5, **HOW)
    two = restorer.with_effort(2)
    assert two.engine.options == restorer.engine.options
    assert restorer.with_effort(2) is two
    assert restorer.with_effort(3) is restorer.with_effort(0) is restorer
    assert two.with_effort(2) is two
    one = two.with_effort(1)
    assert [each.config.memory_blocks for each in (one, two, restorer)] == [1, 2, 3]
    assert restorer.with_effort(1) is not one  # each keeps its own
    other = restorer.with_options(tile=32, strength=0.25).with_effort(2).engine.options
    assert (other.tile, other.strength) == (32, 0.25)  # not those of the two blocks that were made before


def test_a_deadline_counts_the_network_that_restores_the_picture():
    restorer = Restorer("jpeg", **HOW)
    timed(restorer.engine, 1e-3)
    timed(restorer.color_engine, 1e-6)
    gray, color = (Picture(np.full((channels, 100, 100), 0.5, np.float32)) for channels in (1, 3))
    assert restorer.within(0.5, color) is restorer
    assert restorer.within(0.5, gray).config.memory_blocks == 1


def test_a_deadline_is_shared_by_the_steps():
    steps = [Restorer(whole(task), **HOW) for task in ("denoise", "jpeg")]
    for step in steps:
        timed(step.engine, 1e-5)
    picture = Picture(np.full((1, 100, 100), 0.5, np.float32))
    chain = Chain(steps, "note")
    seconds = chain.forecast(picture).seconds
    assert [step.config.memory_blocks for step in chain.within(1.01 * seconds, picture).steps] == [3, 3]
    assert [step.config.memory_blocks for step in chain.within(0.5 * seconds, picture).steps] == [1, 1]
    assert chain.within(0.5 * seconds, picture).note == "note"


def test_scores_of_the_whole_are_not_those_of_less():
    weights = whole()
    scored = replace(weights, card=replace(weights.card, scores={"set5": {}}))
    assert shortened(scored, 2).card.scores == {}
    assert shortened(scored, 3).card.scores == {"set5": {}}


def test_where_no_weight_is_above_zero_the_last_image_is_taken():
    network = random_network(MSRNConfig(3, 1, 4))
    network.ensemble.data.copy_(torch.tensor([-0.2, -0.3, 1.5]))
    assert shortened(weights_of(network, "jpeg"), 2).arrays["ensemble"] == pytest.approx([0, 1])


@pytest.mark.parametrize("effort", [-1, 4])
def test_an_effort_that_cannot_be_is_refused(effort):
    with pytest.raises(UsageError, match=f"its effort is from 1 to 3, not {effort}"):
        Restorer(whole(), effort=effort, **HOW)
