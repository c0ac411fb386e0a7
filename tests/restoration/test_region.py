"""A region is restored as the whole is: bit for bit, wherever it lies, through every chain."""

import numpy as np
import pytest
from tests.helpers.networks import random_weights

from msrn.errors import UsageError
from msrn.images.picture import Picture
from msrn.network.config import MSRNConfig
from msrn.restoration.chain import Chain
from msrn.restoration.region import restore_region
from msrn.restoration.restorer import Restorer
from msrn.restoration.tiles import Rectangle

SMALL = MSRNConfig(1, 1, 4, in_channels=3, unshuffle=2)
PLANES = MSRNConfig(1, 1, 4, unshuffle=2)


@pytest.fixture(scope="module")
def restorers():
    """One of each kind that computes in fp32 whatever the machine."""
    how = {"device": "cpu", "backend": "eager", "precision": "fp32"}
    return {
        "jpeg": Restorer(random_weights("jpeg", SMALL), **how),
        "denoise": Restorer(random_weights("denoise", SMALL, 1), **how),
        "jpeg of planes": Restorer(random_weights("jpeg", PLANES), **how),
        "denoise of planes": Restorer(random_weights("denoise", PLANES), **how),
        "sr": Restorer(random_weights("sr", PLANES, 2), **how),
    }


def picture(height, width, channels=3, alpha=False):
    rng = np.random.default_rng(0)
    covered = np.full((1, height, width), 0.5, np.float32) if alpha else None
    return Picture(rng.random((channels, height, width), dtype=np.float32), covered)


@pytest.mark.parametrize(
    ("names", "how"),
    [
        ((), {}),
        (("jpeg",), {}),
        (("denoise of planes",), {}),
        (("jpeg of planes",), {}),
        (("jpeg", "denoise"), {}),
        (("sr",), {"scale": 2.0}),
        (("jpeg", "denoise", "sr"), {"scale": 1.7}),
        (("denoise", "sr"), {"size": (200, 200)}),
        (("sr",), {"scale": 5.3}),
        (("denoise", "sr"), {"scale": 8.0}),
        (("sr",), {"size": (720, 500)}),
    ],
)
@pytest.mark.parametrize(("channels", "alpha"), [(3, False), (1, True)])
def test_a_region_is_what_the_whole_has_there(restorers, names, how, channels, alpha):
    if channels == 1 and "planes" in "".join(names):
        pytest.skip("as for gray pictures")
    whole = picture(96, 120, channels, alpha)
    chain = Chain([restorers[name] for name in names], "")
    expected = chain(whole, **how)
    height, width = expected.height, expected.width
    for region in (
        Rectangle(0, 13, 0, 9),
        Rectangle(31, 57, 43, 60),
        Rectangle(height - 21, height, width - 11, width),
        Rectangle(0, height, 50, 51),
    ):
        found = restore_region(chain.steps, whole, region, **how)
        if names:  # torch may sum in another order in a picture of another size
            np.testing.assert_allclose(found.pixels, expected.pixels[(slice(None), *region.slices)], atol=3e-6)
        else:
            assert np.array_equal(found.pixels, expected.pixels[(slice(None), *region.slices)])
        if alpha:
            assert np.array_equal(found.alpha, expected.alpha[(slice(None), *region.slices)])


@pytest.mark.parametrize("region", [Rectangle(0, 97, 0, 10), Rectangle(5, 5, 0, 10), Rectangle(-1, 5, 0, 10)])
def test_a_region_beyond_the_result_is_refused(restorers, region):
    with pytest.raises(UsageError, match="no part of a result of 120×96"):
        restore_region([restorers["jpeg"]], picture(96, 120), region)


def test_other_options_share_what_is_loaded(restorers):
    small = picture(24, 20)
    half = restorers["jpeg"].with_options(strength=0.5)
    whole = restorers["jpeg"](small).pixels
    np.testing.assert_allclose(half(small).pixels, (small.pixels + whole) / 2, atol=1e-6)
    in_tiles = restorers["jpeg"].with_options(tile=32)
    assert in_tiles.engine.options.tile == 32
    assert restorers["jpeg"].engine.options.tile == 0
    assert restorers["jpeg"].engine.options.strength == 1
