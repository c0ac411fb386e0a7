"""The estimated error: the same in tiles, calibrated to what is measured, refused where nothing was measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.networks import random_network, random_weights, weights_of

import msrn
from msrn.errors import UsageError
from msrn.images.picture import Picture
from msrn.network.config import MSRNConfig
from msrn.network.weights import load
from msrn.restoration.automatic import BETTER
from msrn.restoration.chain import Chain
from msrn.restoration.confidence import NotMeasuredError, calibration, restore_with_confidence
from msrn.restoration.confidence.calibration import Calibration, Measured, Seen, fit, quantile_of
from msrn.restoration.confidence.estimate import known_as, level_of, seen_by, watch
from msrn.restoration.confidence.features import Features
from msrn.restoration.restorer import Restorer

SMALL = MSRNConfig(2, 1, 4, unshuffle=2)
EAGER = {"device": "cpu", "backend": "eager", "precision": "fp32"}


@pytest.fixture
def measured(monkeypatch):
    """Every network's errors are taken to be what its last block still changed."""
    as_spread = Calibration((1.0,), (0.0,), ((np.log(2.0),),) * 5, (0.0, np.log(1.5)), 40)
    monkeypatch.setattr("msrn.restoration.confidence.estimate.calibration_for", lambda weights, kind: as_spread)


def plane(height, width, channels=1):
    return Picture(np.random.default_rng(0).random((channels, height, width), np.float32))


@pytest.mark.parametrize("backend", ["eager", "onnx", "openvino"])
@pytest.mark.parametrize("config", [SMALL, MSRNConfig(3, 1, 4, in_channels=3)])
def test_tiles_give_the_whole_and_the_result_is_the_same(config, backend):
    restorer = Restorer(random_weights("jpeg", config), device="cpu", backend=backend, precision="fp32")
    picture, seen = plane(90, 147, config.in_channels), []
    for tile in (0, 64):
        features = Features()
        tiled = restorer.with_options(tile=tile)
        result = tiled.watched(features)(picture)
        assert np.allclose(result.pixels, tiled(picture).pixels, atol=1e-6)
        seen.append(features.maps())
    assert seen[0].shape == (10, 13, 20)
    assert seen[0][:-1].min() > 0.01  # grey levels
    assert np.allclose(*seen, rtol=1e-4)


def test_what_is_seen_is_what_it_says():
    """By definition, from the images that the network predicts."""
    network = random_network(SMALL)
    network.ensemble.data.copy_(torch.tensor([0.3, 0.8]))
    weights = weights_of(network, "jpeg")
    picture, features = plane(70, 81), Features()
    picture.pixels[:, 8:16, 16:48] = 0
    restorer = Restorer(weights, **EAGER)
    result = restorer.watched(features)(picture).pixels * 255.0
    earlier = Restorer(weights, **EAGER, effort=1)(picture).pixels * 255.0
    window = np.s_[:, 8:40, 16:48]  # around the corner (24, 32)
    spread, change, gradient, *rough, clipped = features.maps()[:, 3, 4]
    assert spread == pytest.approx(np.sqrt(((earlier - result)[window] ** 2).mean()), rel=1e-4)
    assert change == pytest.approx(np.sqrt(((picture.pixels * 255.0 - result)[window] ** 2).mean()), rel=1e-4)
    across, down = (np.diff(result, axis=axis)[window] ** 2 for axis in (2, 1))
    assert gradient == pytest.approx(np.sqrt((across + down).mean()), rel=1e-4)
    for seen, image, distance in zip(rough, 3 * [result] + 3 * [picture.pixels * 255.0], 2 * [1, 2, 4], strict=True):
        both = [image - (np.roll(image, distance, axis) + np.roll(image, -distance, axis)) / 2 for axis in (2, 1)]
        assert seen == pytest.approx(2 * np.sqrt(sum((each[window] ** 2).mean() for each in both)), rel=1e-4)
    assert clipped == 0.25
    at_the_edge = features.maps()[0, -1, -1]  # 70 = 8 · 8 + 6, 81 = 10 · 8 + 1
    assert at_the_edge == pytest.approx(np.sqrt(((earlier - result)[:, 56:, 72:] ** 2).mean()), rel=1e-4)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 8), (8, 9), (263, 5)])
def test_of_small_pictures_roughness_is_that_of_the_neighbours_there_are(height, width):
    features = Features()
    Restorer(random_weights("jpeg", SMALL), **EAGER).watched(features)(plane(height, width))
    finest, _, coarsest = features.maps()[6:9]
    assert np.isfinite(features.maps()).all()
    assert (coarsest.max() > 0) == (max(height, width) > 8)
    assert (finest.max() > 0) == (max(height, width) > 2)


def test_a_map_lies_between_its_corners(measured):
    confidence = restore_with_confidence(Restorer(random_weights("jpeg", SMALL), **EAGER), plane(50, 61))[1]
    assert confidence.map().shape == confidence.picture().pixels.shape[1:] == (50, 61)
    ramp = np.add.outer(8 * np.arange(8), 80 * np.arange(9)).astype(np.float32)  # 1 for each row, 10 for each column
    shown = replace(confidence, corners=ramp).map()
    assert shown == pytest.approx(np.add.outer(np.arange(50) + 0.5, 10 * (np.arange(61) + 0.5)), rel=1e-5)
    assert confidence.below == pytest.approx(1.5 * (confidence.error + 0.1) - 0.1)
    assert "in 90% of such pictures" in str(confidence)


def test_of_several_steps_each_ones_likely_error_is_seen(measured):
    first, last = (Restorer(random_weights(task, SMALL, seed), **EAGER) for task, seed in (("jpeg", 0), ("sr", 1)))
    picture = plane(40, 48)
    restored, one = restore_with_confidence(first, picture)
    enlarged, other = restore_with_confidence(last, restored, scale=2.0)
    made, both = restore_with_confidence(Chain([first, last], ""), picture, scale=2.0)
    assert np.array_equal(made.pixels, enlarged.pixels)
    assert both.size == (80, 96)
    watched, features = watch([first, last])
    Chain(watched, "")(picture, scale=2.0)
    seen = seen_by([first, last], features, picture)
    assert (seen.change, seen.level) == (features[0].change, level_of(first, picture, (40, 48)))
    before, alone, together, _ = seen.maps
    assert before[2, 2] * 2 + 0.1 == pytest.approx(one.corners[1, 1], rel=1e-5)  # below: twice what is likely
    assert alone[2, 2] * 2 + 0.1 == pytest.approx(other.corners[2, 2], rel=1e-5)
    assert together == pytest.approx(np.hypot(before, alone))
    assert both.corners[2, 2] == pytest.approx(before[2, 2] * 2 + 0.1, rel=1e-5)  # the first of what is seen


def pictures(count, rng, unlike=0.3):
    """Errors that are the spread's, but for what differs between pictures and between patches."""
    for number in range(count):
        spread = np.exp(rng.normal(0.5, 0.8, 50))
        maps = np.stack([spread, np.full(50, 2.0), np.full(50, 9.0), np.zeros(50)])
        errors = 2 * spread * np.exp(rng.normal(0, unlike) + rng.normal(0, 0.2, 50))
        yield Measured(number, Seen(maps, 2.0), errors)


def test_ninety_of_a_hundred_are_below_what_is_said():
    rng = np.random.default_rng(5)
    inside, wholes = list[float](), list[bool]()
    for _ in range(20):
        fitted = fit(list(pictures(60, rng)))
        for each in pictures(60, rng):
            predicted = fitted.predict(each.seen)
            inside.append(float((each.errors <= predicted.below).mean()))
            wholes.append(float(np.sqrt((each.errors**2).mean())) <= predicted.picture_below)
    assert 0.88 < np.mean(inside) < 0.94
    assert 0.88 < np.mean(wholes) < 0.95


def test_a_quantile_counts_each_set_alike_and_adds_none():
    assert quantile_of([np.array([float(value)]) for value in range(10, 0, -1)], 0.9) == 9
    uneven = [np.zeros(100), np.array([1.0])]
    assert (quantile_of(uneven, 0.5), quantile_of(uneven, 0.6)) == (0, 1)


def test_black_and_white_count_only_where_noise_may_be_clipped():
    maps = np.ones((4, 5))
    assert Seen(maps, 2.0).terms[3].tolist() == [1] * 5
    assert Seen(maps, 2.0, 3.0).terms[3].tolist() == [0] * 5


def test_more_damage_may_have_more_doubt():
    rng, found = np.random.default_rng(6), list[Measured]()
    for change, unlike in ((1.0, 0.1), (3.0, 0.3), (9.0, 0.6), (27.0, 1.2)):
        for each in pictures(40, rng, unlike):
            each.seen.maps[1] = change
            found.append(each._replace(seen=each.seen._replace(change=change)))
    fitted = fit(found)
    assert len(fitted.damages) == 4
    for each in (fitted.quantiles[-1], [at_most[0] for at_most in fitted.quantiles]):
        assert list(each) == sorted(each)
    assert fitted.quantiles[-1][0] < 0.5 < fitted.quantiles[-1][3]
    with pytest.raises(UsageError, match="9 pictures are too few for what holds in 90% of them"):
        fit(found[:9])


def test_what_was_not_measured_is_refused():
    picture = plane(40, 40)
    with pytest.raises(UsageError, match=r"errors of random \(gray\) were not measured; those of other networks"):
        restore_with_confidence(Restorer(random_weights("jpeg", SMALL), **EAGER), picture)
    for config in (MSRNConfig(2, 1, 4, multi_supervised=False), MSRNConfig(1, 1, 4)):
        with pytest.raises(UsageError, match="predicts one image only"):
            Restorer(random_weights("jpeg", config), **EAGER).watched(Features())
    for how in ({"tta": True}, {"strength": 0.5}):
        with pytest.raises(UsageError, match="leave out strength and tta"):
            restore_with_confidence(Restorer("jpeg", **how), picture)
    with pytest.raises(UsageError, match="nothing to restore"):
        restore_with_confidence(Chain([], ""), picture)


def test_each_network_of_the_package_that_is_taken_by_default_was_measured():
    for name, gray in [("sr", True), ("denoise", True), ("jpeg", True)] + [
        (task, False) for task in ("sr", "denoise", "jpeg", "photo")
    ]:
        weights = Restorer(name).engine_for(plane(8, 8, 1 if gray else 3)).weights
        known = calibration.calibration_for(weights, calibration.kind_of(gray=gray))
        assert known.pictures >= 100
        assert list(known.damages) == sorted(known.damages)


def test_the_larger_networks_that_restore_takes_were_measured():
    jpeg, photo, sr = (Restorer(BETTER[task]) for task in ("jpeg", "photo", "sr"))
    for steps in ([jpeg], [sr], [jpeg, sr], [photo], [photo, sr]):
        for gray in (False,) if photo in steps else (False, True):
            assert calibration.calibration_for(*known_as(steps, gray=gray)).pictures >= 100
    # Without the network for chroma, R, G and B are restored one by one, with other errors.
    with pytest.raises(NotMeasuredError):
        calibration.calibration_for(*known_as([Restorer(load(BETTER["jpeg"]))], gray=False))


@pytest.mark.parametrize("scale", [None, 2])
def test_restore_takes_the_same_networks_for_small_pictures_as_without(tmp_path, clean, scale):
    shown = np.rint(clean[:, :64, :72] * 255).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(shown).save(tmp_path / "photo.jpg", quality=30)
    exact = {"scale": scale, "precision": "int8"}
    made, confidence = msrn.with_confidence(tmp_path / "photo.jpg", **exact)
    assert np.array_equal(made.pixels, msrn.restore(tmp_path / "photo.jpg", **exact).pixels)
    assert 0 < confidence.error < confidence.below < 30


def test_one_call_from_python(clean):
    small = (clean[:, :64, :72] * 255).astype(np.uint8).transpose(1, 2, 0)
    restored, confidence = msrn.with_confidence(small, "upscale", scale=2, precision="int8")
    assert np.array_equal(restored, msrn.upscale(small, 2, precision="int8"))
    restored, confidence = msrn.with_confidence(small, "upscale", scale=2)  # on some processors in bf16
    difference = np.abs(restored.astype(int) - msrn.upscale(small, 2))
    assert difference.max() <= 1
    assert difference.mean() < 0.002
    assert confidence.size == (128, 144)
    assert 0 < confidence.error < confidence.below < 30
    with pytest.raises(UsageError, match="one image"):
        msrn.with_confidence([small, small])
    with pytest.raises(UsageError, match="unknown function 'sharpen'"):
        msrn.with_confidence(small, "sharpen")
    with pytest.raises(UsageError, match="does not enlarge"):
        msrn.with_confidence(small, "denoise", scale=2)
