"""What cannot be seen neither bleeds into what can nor gets lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.networks import identity_weights

from msrn.images.picture import Picture
from msrn.images.transparency import hide_invisible
from msrn.restoration.restorer import Restorer

TASKS = ("sr", "denoise", "jpeg")


def disc(hidden: float, height: int = 33, width: int = 41) -> Picture:
    """A disc of one colour, on full transparency that hides another."""
    y, x = np.mgrid[:height, :width]
    alpha = (np.hypot(y - 16, x - 20) < 11).astype(np.float32)[None]
    color = np.array([0.8, 0.4, 0.2], np.float32)[:, None, None]
    return Picture(np.where(alpha > 0, color, np.float32(hidden)), alpha)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_no_halo(task, hidden):
    result = Restorer(identity_weights(task), device="cpu")(disc(hidden))
    seen = np.broadcast_to(result.alpha > 0, result.pixels.shape)
    expected = np.broadcast_to(disc(0).pixels[:, 16:17, 20:21], result.pixels.shape)
    np.testing.assert_allclose(result.pixels[seen], expected[seen], atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_trained_networks_give_the_same_visible_pixels_whatever_is_hidden(task):
    restorer = Restorer(task, device="cpu")
    black, white = (restorer(disc(hidden)) for hidden in (0.0, 1.0))
    assert np.array_equal(black.alpha, white.alpha)
    seen = np.broadcast_to(black.alpha > 0, black.pixels.shape)
    assert np.array_equal(black.pixels[seen], white.pixels[seen])


@pytest.mark.parametrize("task", ["denoise", "jpeg"])
def test_hidden_colours_are_kept_where_the_size_is(task):
    given_picture = disc(0.3)
    result = Restorer(task, device="cpu")(given_picture)
    hidden = np.broadcast_to(given_picture.alpha == 0, result.pixels.shape)
    assert np.array_equal(result.pixels[hidden], given_picture.pixels[hidden])


def test_a_picture_all_hidden_or_all_visible_stays_as_it_is():
    for alpha in (0, 1):
        picture = Picture(np.zeros((1, 3, 4), np.float32), np.full((1, 3, 4), alpha, np.float32))
        assert hide_invisible(picture) is picture.pixels


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 2**31))
def test_every_hidden_pixel_gets_a_colour_among_the_visible_ones(height, width, seed):
    rng = np.random.default_rng(seed)
    picture = Picture(rng.random((3, height, width), np.float32), rng.integers(0, 2, (1, height, width)).astype("f4"))
    shown = hide_invisible(picture)
    seen = np.broadcast_to(picture.alpha > 0, shown.shape)
    assert np.array_equal(shown[seen], picture.pixels[seen])
    if seen.any():
        assert shown.min() >= picture.pixels[seen].min() - 1e-6
        assert shown.max() <= picture.pixels[seen].max() + 1e-6
