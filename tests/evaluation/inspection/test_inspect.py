"""What is found inside a network is what other code computes in other ways."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.networks import identity_weights, random_network, random_weights, weights_of

from msrn.errors import ImageError, UsageError
from msrn.evaluation.inspection import default_level, inspect
from msrn.evaluation.inspection.gates import gates_of
from msrn.evaluation.inspection.inspect import stops_of
from msrn.evaluation.inspection.passes import images_after_blocks, passes, run
from msrn.evaluation.inspection.reach import measure_reach
from msrn.evaluation.inspection.spectra import SpectrumMeter
from msrn.evaluation.methods import WeightsMethod
from msrn.evaluation.protocol import evaluate
from msrn.network.config import MSRNConfig
from msrn.network.memnet import build
from msrn.network.weights import load
from msrn.restoration.restorer import Restorer

SMALL = MSRNConfig(3, 2, 4, unshuffle=2)


@pytest.fixture
def folder(tmp_path):
    """A picture of 90×70 pixels in a folder of its own."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    Image.fromarray(noise).resize((90, 70), Image.Resampling.BICUBIC).save(folder / "one.png")
    return folder


def test_gates_norms_are_those_of_the_convolutions_filters():
    weights = random_weights("sr", SMALL)
    network = build(weights)
    for gate, block in zip(gates_of(weights), network.blocks, strict=True):
        assert gate.memories == (*(f"B{k}" for k in range(gate.block)), "H1", "H2")
        filters = block.gate.weight.flatten(1)  # (C, C·(m+R))
        assert np.allclose(gate.norms.ravel(), torch.linalg.vector_norm(filters, dim=0))
        assert gate.norms.shape == (len(gate.memories), 4)
        scaled = torch.linalg.vector_norm(filters * block.gate_norm.weight, dim=0).reshape(-1, 4)
        norms = torch.linalg.vector_norm(scaled, dim=1)
        assert np.allclose(gate.shares, norms / norms.sum())


@pytest.mark.parametrize("size", [(50, 64), (61, 33)])
def test_images_and_memories_of_tiles_are_those_of_the_whole(size):
    network = random_network(SMALL)
    image = np.random.default_rng(1).random((1, *size), np.float32)
    whole, memories = run(network, torch.from_numpy(image)[None])
    assert np.allclose(images_after_blocks(network, image), torch.stack(whole)[:, 0], atol=1e-5)
    assert len(memories) == 4
    seen = np.zeros(tuple(memories[0].shape[2:]))
    for each in passes(network, image, tile=16):
        down = slice(each.core.top // 2, -(-each.core.bottom // 2))
        right = slice(each.core.left // 2, -(-each.core.right // 2))
        seen[down, right] += 1
        for made, wanted in zip(each.memories, memories, strict=True):
            assert np.allclose(made, wanted[0, :, down, right], atol=1e-4)
    assert (seen == 1).all()


def test_scores_are_those_of_the_evaluation_at_every_effort(folder):
    weights = random_weights("sr", SMALL)
    found = inspect(weights, [folder])
    (seen,) = found.pictures
    for effort in (1, 2, 3):
        restorer = Restorer(weights, effort=effort, device="cpu", backend="eager", precision="fp32")
        (image,) = evaluate("sr", 2, folder, WeightsMethod(restorer)).images
        assert seen.sums[effort - 1] == pytest.approx(image.restored.psnr, abs=1e-3)
        assert seen.degraded == image.baseline.psnr
    assert seen.images[0] == pytest.approx(seen.sums[0])
    assert seen.images[-1] != pytest.approx(seen.sums[-1])
    assert seen.size == (90, 70)
    assert seen.stops.shape == (2, 2)


def test_tiles_stop_at_the_first_block_that_is_near_enough():
    sums = np.zeros((3, 1, 100, 140), np.float32)
    sums[0, :, :64, :64] = 0.6 / 255  # further than half a grey level
    sums[:2, :, 64:, 128:] = 0.6 / 255
    sums[1, :, 64:, 64:128] = 0.4 / 255
    sums[0, :, 64:, 64:128] = 9 / 255
    assert stops_of(sums).tolist() == [[2, 1, 1], [1, 2, 3]]


def test_a_reach_ends_where_the_convolutions_do():
    network = random_network(MSRNConfig(2, 1, 4, unshuffle=2))
    reach = measure_reach(network, [np.random.default_rng(2).random((1, 60, 80), np.float32)])
    assert reach.possible == (9, 13)
    assert reach.maps.shape == (2, 27, 27)
    assert reach.maps.sum(axis=(1, 2)) == pytest.approx([1, 1])
    around = np.hypot(*np.mgrid[-13:14, -13:14])
    assert (reach.maps[:, 13, 13] > reach.maps[:, around > 9].mean(axis=1)).all()
    far = np.maximum(*np.abs(np.mgrid[-13:14, -13:14])) > 9
    assert reach.maps[0][far].max() == 0
    assert reach.maps[1][far].max() > 0
    assert all(0 < within <= possible for within, possible in zip(reach.within, reach.possible, strict=True))


def test_a_network_that_changes_nothing_reaches_nowhere():
    reach = measure_reach(build(identity_weights("jpeg")), [np.full((1, 30, 30), 0.5, np.float32)])
    assert reach.within == (0,)
    assert not reach.maps.any()  # the input itself does not count


def test_a_wave_is_found_in_the_band_of_its_frequency_and_noise_in_all():
    meter = SpectrumMeter(2)
    assert meter.read() is None
    wave = np.sin(2 * np.pi * np.arange(64) * 6 / 32) * np.ones((3, 64, 1))
    noise = np.random.default_rng(3).standard_normal((3, 64, 64))
    meter.add([wave.astype(np.float32), noise.astype(np.float32)])
    meter.add([np.zeros((3, 31, 64), np.float32)] * 2)  # less than a patch
    found = meter.read()
    assert found is not None
    assert found.patches == 4
    assert found.frequencies[found.power[0].argmax()] == pytest.approx(6 / 32)
    assert found.power[0][[5]] > 50 * found.power[0][[0, 1, 10, 15]].max()
    assert np.abs(found.power[1] - 1).max() < 0.4
    assert found.differences.shape == (1, 16)


def test_a_network_of_one_image_has_no_weights_to_learn(folder):
    basic = weights_of(random_network(MSRNConfig(2, 1, 4, multi_supervised=False)), "jpeg")
    found = inspect(basic, [folder / "one.png"], level=20)
    assert found.ensemble is None
    assert found.outputs == (2,)
    assert found.reach.possible == (6,)
    assert len(found.pictures[0].images) == 1
    assert found.as_json()["ensemble"] is None
    assert (found.pictures[0].stops == 1).all()


@pytest.mark.parametrize("task", ["denoise", "photo", "photo-sr"])
def test_colours_and_gray_pictures_go_through_a_network_for_colours(folder, task):
    with Image.open(folder / "one.png") as picture:
        picture.convert("L").save(folder / "two.png")
    found = inspect(random_weights(task, MSRNConfig(2, 1, 4, 3, unshuffle=2)), [folder])
    assert [seen.view.shape for seen in found.pictures] == [(3, 70, 90), (3, 70, 90)]
    assert found.spectra is not None
    assert all(np.isfinite(seen.sums).all() for seen in found.pictures)


def test_the_chart_stands_in_where_no_picture_is_named():
    shares = list[float]()
    found = inspect(random_weights("denoise", SMALL), report=lambda name, share: shares.append(share))
    assert found.drawn
    assert [seen.name for seen in found.pictures] == ["chart"]
    assert found.pictures[0].size == (384, 256)
    assert shares == sorted(shares)
    assert shares[-1] <= 1


def test_levels_are_usual_ones_within_what_weights_know():
    assert default_level(load("msrn-m4r1s2-sr")) == 2
    assert default_level(load("msrn-m4r1s2-denoise")) == 25
    weights = random_weights("denoise", SMALL)
    assert default_level(replace(weights, card=replace(weights.card, levels=(30, 50)))) == 30


def test_what_cannot_be_is_said_and_others_go_on(folder, tmp_path):
    weights = random_weights("sr", SMALL)
    with pytest.raises(UsageError, match=r"no such picture or folder: .*nowhere"):
        inspect(weights, [tmp_path / "nowhere"])
    with pytest.raises(UsageError, match=r"the scale must be a whole number of at least 2, got 1\.5"):
        inspect(weights, [folder], level=1.5)
    (folder / "broken.png").write_text("no picture")
    Image.new("L", (3, 3)).save(folder / "tiny.png")
    found = inspect(weights, [folder])
    assert [seen.name for seen in found.pictures] == ["one.png"]
    assert [failure.name for failure in found.failures] == ["broken.png", "tiny.png"]
    assert "3×3 pixels are too few" in found.failures[1].error
    with pytest.raises(ImageError, match=r"no picture could be looked at: broken\.png"):
        inspect(weights, [folder / "broken.png"])
