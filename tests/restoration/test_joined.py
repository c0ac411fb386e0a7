"""Luminance by one network, chroma by another: each part is the one network's own, whatever the tiles."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msrn.images.color import rgb_to_ycbcr
from msrn.images.decode import decode
from msrn.images.degradations import GaussianNoise
from msrn.images.jpeg_evidence import SMALL_PICTURE
from msrn.images.picture import Picture
from msrn.network.weights import load
from msrn.restoration.automatic import BETTER, Automatic, automatic_loader
from msrn.restoration.certificate import measure
from msrn.restoration.region import restore_region
from msrn.restoration.restorer import Restorer
from msrn.restoration.tiles import Rectangle

NAME = "msrn-m6r1s2-jpeg"
HOW = {"device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def joined():
    return Restorer(NAME, **HOW)


def photo(height, width):
    """A JPEG of quality 30, as it is read from its file."""
    y, x = np.mgrid[:height, :width] / 9
    clean = np.stack([np.sin(x + k) * np.cos(y - k) / 3 + 0.5 for k in range(3)], axis=-1)
    clean += np.random.default_rng(4).normal(0, 0.02, clean.shape)
    file = io.BytesIO()
    Image.fromarray(np.rint(clean.clip(0, 1) * 255).astype(np.uint8)).save(file, "JPEG", quality=30)
    return decode(file.getvalue(), Path("photo.jpg"))


@pytest.fixture(scope="module")
def jpeg():
    return photo(62, 75)


def test_luminance_and_chroma_are_each_its_own_networks(joined, jpeg):
    before = jpeg.pixels.copy()
    made = rgb_to_ycbcr(joined(jpeg).pixels, "full")
    y = Restorer(load(NAME), **HOW).restore_planes(rgb_to_ycbcr(before, "full")[None, :1])[0]
    color = rgb_to_ycbcr(Restorer("jpeg-color", **HOW)(jpeg).pixels, "full")
    assert np.abs(made[:1] - y).max() < 1e-5
    assert np.abs(made[1:] - color[1:]).max() < 1e-5
    assert np.abs(color[:1] - y).max() > 1e-3  # or this would show nothing
    assert np.array_equal(jpeg.pixels, before)


def test_tiles_and_regions_equal_the_whole(joined, jpeg):
    whole = joined(jpeg).pixels
    assert np.abs(joined.with_options(tile=16)(jpeg).pixels - whole).max() < 1e-5
    region = Rectangle(top=20, bottom=40, left=31, right=52)
    assert np.abs(restore_region([joined], jpeg, region).pixels - whole[:, 20:40, 31:52]).max() < 1e-5


def test_what_is_seen_is_of_all_colours_and_how_images_differ_of_luminance(joined, jpeg):
    seen = []
    made = joined.watched(lambda *planes: seen.append(planes))(jpeg).pixels
    ((before, after, spread),) = seen
    assert np.array_equal(before[0], jpeg.pixels)
    assert np.array_equal(after[0], made)
    assert np.abs(made - joined(jpeg).pixels).max() < 1e-5
    gray = Picture(rgb_to_ycbcr(jpeg.pixels, "full")[:1])
    joined.watched(lambda *planes: seen.append(planes))(gray)
    assert spread == pytest.approx(seen[1][2], abs=1e-7)
    assert seen[1][0].shape[1] == 1


def test_gray_pictures_and_loaded_weights_have_one_network(joined, jpeg):
    gray = Picture(jpeg.pixels[:1])
    alone = Restorer(load(NAME), **HOW)
    assert np.array_equal(joined(gray).pixels, alone(gray).pixels)
    assert len(alone.engines) == 1
    assert Restorer(NAME, for_color="jpeg-color", **HOW).identity.keys() != joined.identity.keys()


def test_strength_effort_and_cost_are_of_both(joined, jpeg):
    half = joined.with_options(strength=0.5)(jpeg).pixels
    assert np.abs(half - (jpeg.pixels + joined(jpeg).pixels) / 2).max() < 1e-5
    assert [engine.config.memory_blocks for engine in joined.with_effort(5).engines] == [5, 4]
    assert [engine.config.memory_blocks for engine in Restorer(NAME, effort=2, **HOW).engines] == [2, 2]
    parts = [engine.config.multiply_adds_per_pixel for engine in joined.engines]
    assert joined.engine_for(jpeg).config.multiply_adds_per_pixel == sum(parts)
    assert set(joined.choices) == {engine.weights.sha256 for engine in joined.engines}
    needs = joined.forecast(jpeg)
    each = [engine.forecast(3, 62, 75) for engine in joined.engines]
    assert needs.seconds == pytest.approx(sum(one.seconds for one in each))
    assert needs.peak >= max(one.peak for one in each)


def test_progress_ends_at_one_and_never_falls(joined, jpeg):
    shares: list[float] = []
    joined.with_options(tile=32)(jpeg, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def _names(chain):
    return [step.weights.name for step in chain.steps]


def test_small_pictures_get_the_larger_networks(jpeg):
    choose = Automatic(lambda name: Restorer(name, **HOW))
    usual = [load("jpeg").name, load("sr").name]
    better = [load(BETTER["jpeg"]).name, load(BETTER["sr"]).name]
    assert _names(choose.settled(jpeg, 2, None)) == better
    assert _names(choose.settled(jpeg, 2, None, quick=True)) == usual
    side = int((SMALL_PICTURE + 1) ** 0.5) + 1
    assert _names(choose.settled(jpeg, None, (side, side))) == [better[0], usual[1]]
    assert _names(choose.settled(photo(side, side), None, None)) == usual[:1]
    assert {f"{name}.weights" for name in BETTER.values()} <= choose.identity.keys()


def test_small_jpegs_stay_within_what_their_file_allows(jpeg):
    choose = Automatic(lambda name: Restorer(name, **HOW))
    chain = choose.settled(jpeg, None, None)
    made = chain(jpeg)
    assert measure(jpeg, made).consistent
    assert not measure(jpeg, chain.steps[0](jpeg)).consistent  # or this would show nothing
    enlarged = choose.settled(jpeg, 2, None)
    assert np.array_equal(enlarged(jpeg, scale=2).pixels, enlarged.steps[1](made, scale=2).pixels)
    plain = jpeg.with_pixels(jpeg.pixels)  # whose file is not known
    assert not choose.settled(jpeg, None, None, quick=True).bounded
    assert np.array_equal(chain(plain).pixels, chain.steps[0](plain).pixels)


@pytest.mark.parametrize("named", ["msrn-m4r1s2-jpeg", "msrn-m4r1s2-jpeg-color"])
def test_who_names_weights_or_an_effort_gets_these(named, jpeg):
    by_name = automatic_loader([named], enlarging=False, **HOW)({})
    assert _names(by_name.settled(jpeg, None, None)) == [load("jpeg").name]
    hurried = automatic_loader([], enlarging=False, effort=2, **HOW)({})
    assert "effort 2 of 4" in _names(hurried.settled(jpeg, None, None))[0]
    joined = automatic_loader([NAME], enlarging=False, **HOW)({}).settled(photo(1100, 1000), None, None)
    assert [engine.config.in_channels for engine in joined.steps[0].engines] == [1, 3]


@pytest.mark.parametrize(
    ("named", "used"),
    [([], BETTER["photo"]), (["denoise-color"], "denoise-color"), (["denoise-color", "photo"], "photo")],
)
def test_noise_in_colours_is_removed_by_the_network_for_photographs_or_the_one_that_is_named(named, used):
    clean = np.full((3, 96, 96), 0.5, np.float32)
    noisy = Picture(GaussianNoise().apply(clean, 20, np.random.default_rng(0)).clip(0, 1))
    chooser = automatic_loader(named, enlarging=False, **HOW)({})
    chain = chooser.settled(noisy, None, None)
    assert [step.engine_for(noisy).weights.name for step in chain.steps] == [load(used).name]
