"""A network that ends after some of its memory blocks gives the images that the whole one predicts there."""

import numpy as np
import pytest
import torch
from tests.helpers.networks import random_network, weights_of

from msrn.errors import UsageError
from msrn.images.picture import Picture
from msrn.network import weights
from msrn.network.config import MSRNConfig
from msrn.network.effort import shortened
from msrn.network.memnet import build
from msrn.restoration.autotune import Tuned
from msrn.restoration.restorer import Restorer


@pytest.fixture(scope="module")
def whole():
    network = random_network(MSRNConfig(3, 1, 4, unshuffle=2))
    network.ensemble.data.copy_(torch.tensor([0.2, 0.3, 0.6]))
    return weights_of(network, "jpeg")


@pytest.mark.parametrize("effort", [1, 2])
def test_it_is_the_mean_of_what_the_first_blocks_predict(whole, effort):
    x = torch.rand(1, 1, 20, 18, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        images = build(whole).all_outputs(x)[1]
        w = whole.arrays["ensemble"][:effort]
        wanted = sum(float(k) * image for k, image in zip(w * 1.1 / w.sum(), images, strict=False))
        short = shortened(whole, effort)
        assert torch.allclose(build(short)(x), wanted, atol=1e-6)
    assert short.card.config.memory_blocks == effort
    assert short.card.config.halo < whole.card.config.halo


def test_all_of_it_is_the_very_weights(whole):
    assert shortened(whole, 0) is whole
    assert shortened(whole, 3) is whole


def test_tiles_make_no_difference_and_less_is_told_from_more(whole):
    plane = np.random.default_rng(2).random((1, 1, 90, 100), np.float32)
    engines = [
        Restorer(whole, effort=2, tile=tile, device="cpu", backend="openvino", precision="fp32").engine
        for tile in (0, 64)
    ]
    assert np.allclose(*(engine.restore(plane) for engine in engines), atol=2e-6)
    files = [shortened(weights.load("msrn-m4r1s2-jpeg"), effort) for effort in (1, 2, 4)]
    assert len({each.sha256 for each in files}) == len({each.content for each in files}) == 3
    assert [each.name.endswith("of 4)") for each in files] == [True, True, False]


def test_what_cannot_be_is_said(whole):
    with pytest.raises(UsageError, match="has 3 memory blocks: its effort is from 1 to 3, not 4"):
        shortened(whole, 4)
    basic = weights_of(random_network(MSRNConfig(2, 1, 4, multi_supervised=False)), "jpeg")
    with pytest.raises(UsageError, match="after its last memory block only"):
        shortened(basic, 1)


def test_a_deadline_takes_as_many_blocks_as_fit(whole):
    restorer = Restorer(whole, device="cpu", backend="openvino", precision="fp32")
    vars(restorer.engine)["_timed"] = Tuned(restorer.engine.tuned.choice, {96: 1e-5, 192: 1e-5})
    picture = Picture(np.full((1, 100, 100), 0.5, np.float32))
    seconds = restorer.forecast(picture).seconds
    assert seconds > 0
    two = shortened(whole, 2).card.config.multiply_adds_per_pixel / whole.card.config.multiply_adds_per_pixel
    shares = (0, 0.999 * two, 1.001 * two, 0.999, 1.001)
    found = [restorer.within(share * seconds, picture).config.memory_blocks for share in shares]
    assert found == [1, 1, 2, 2, 3]
    assert restorer.within(2 * seconds, picture) is restorer
    assert restorer.within(0, picture) is restorer.within(0, picture)
    assert restorer.within(0, picture)(picture).pixels.shape == (1, 100, 100)


def test_a_weight_below_zero_does_not_make_the_others_larger_than_all():
    network = random_network(MSRNConfig(3, 1, 4))
    network.ensemble.data.copy_(torch.tensor([-0.2, 0.3, 0.9]))
    made = [shortened(weights_of(network, "jpeg"), effort).arrays["ensemble"] for effort in (1, 2)]
    assert np.allclose(made[0], [1.0])
    assert np.allclose(made[1], [0.0, 1.0])
