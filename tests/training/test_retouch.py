"""Figures for training: stripes of every frequency, letters, always the same, only where they are asked for."""

import numpy as np
import pytest
import torch

from msrn.images.degradations import GaussianNoise, Jpeg
from msrn.training.resident_patches import ResidentSampler
from msrn.training.retouch import chosen, painted

GRAY = np.full((1, 96, 128), 128, np.uint8)


def test_an_image_is_painted_the_same_every_time_and_others_differently():
    first = painted(GRAY, 3)
    assert first.dtype == np.uint8
    assert first.shape == GRAY.shape
    assert np.array_equal(first, painted(GRAY, 3))
    assert not np.array_equal(first, painted(GRAY, 4))
    assert (GRAY == 128).all()


def test_figures_have_every_frequency_and_leave_much_as_it_was():
    spectrum = np.zeros((64, 64))
    for number in range(200):
        stripes = painted(GRAY, number)[0, 16:80, 32:96] - 128.0
        spectrum += np.abs(np.fft.fft2(stripes))
    spectrum[0, 0] = 0
    quarters = [
        spectrum[rows, columns].mean()
        for rows in (slice(1, 16), slice(16, 32))
        for columns in (slice(1, 16), slice(16, 32))
    ]
    assert max(quarters) < 4 * min(quarters)
    changed = np.mean([(painted(GRAY, number) != 128).mean() for number in range(50)])
    assert 0.3 < changed < 0.7


def test_letters_are_drawn_in_full_contrast():
    drawn = np.concatenate([painted(GRAY, number) for number in range(100)], axis=1)
    assert (drawn == 0).mean() > 0.02
    assert (drawn == 255).mean() > 0.02


def blocks(number, side):
    """All squares of an image that figures were painted into, ``(N, side, side)``."""
    drawn = painted(GRAY, number)[0].astype(int)
    return np.lib.stride_tricks.sliding_window_view(drawn, (side, side))[::4, ::4].reshape(-1, side, side)


def test_some_patterns_change_with_every_pixel_and_repeat_exactly():
    def chequered(squares):
        return (squares[:, :, 2:] == squares[:, :, :-2]) & (squares[:, :, 1:-1] != squares[:, :, :-2])

    assert sum(chequered(blocks(number, 10)).all(axis=(1, 2)).any() for number in range(150)) >= 4


def test_some_grounds_are_gradients():
    def even(squares):
        steps = [np.ptp(np.diff(squares, axis=axis), axis=(1, 2)) for axis in (1, 2)]
        return (np.maximum(*steps) <= 1) & (np.ptp(squares, axis=(1, 2)) > 20)

    assert any(even(blocks(number, 16)).any() for number in range(150))


def test_some_figures_are_coloured_and_some_are_not():
    many = np.concatenate([painted(np.repeat(GRAY, 3, axis=0), number).astype(int) for number in range(30)], axis=1)
    painted_at = (many != 128).any(axis=0)
    colourful = (np.abs(many - many.mean(axis=0)) > 1).any(axis=0)
    assert 0.15 < colourful[painted_at].mean() < 0.6


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 8, 200)])
def test_small_images_do(size):
    assert painted(np.full(size, 250, np.uint8), 1).shape == size


def test_a_share_of_the_images_is_chosen():
    assert np.mean([chosen(number, 0.25) for number in range(2000)]) == pytest.approx(0.25, abs=0.03)
    assert not any(chosen(number, 0) for number in range(100))
    assert all(chosen(number, 1) for number in range(100))


@pytest.mark.parametrize("degradation", [GaussianNoise((0, 0)), Jpeg((98, 98))])
def test_what_is_painted_belongs_to_the_clean_image(degradation):
    sampler = ResidentSampler([GRAY] * 8, degradation, 32, 0, torch.device("cpu"), graphics=0.5)
    degraded, clean = sampler.batch(0, 64)
    striped = (clean * 255 - 128).abs().amax((1, 2, 3)) > 4
    assert 8 < int(striped.sum()) < 56
    assert float((degraded - clean).abs().mean()) < 1 / 255
