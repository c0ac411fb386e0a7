"""A training set on the device gives the same kind of pairs as one on disk, without decoding anything."""

import numpy as np
import pytest
import torch

from msrn.errors import UsageError
from msrn.images.degradations import Bicubic, GaussianNoise, Jpeg
from msrn.images.resize import resize
from msrn.training.resident_patches import ResidentSampler

CPU = torch.device("cpu")


def images(channels=1):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (channels, *side), dtype=np.uint8) for side in ((48, 60), (36, 49), (70, 40))]


def symmetries(image):
    for k in range(8):
        turned = np.rot90(image, k % 4, axes=(1, 2))
        yield turned[:, :, ::-1] if k >= 4 else turned


@pytest.mark.parametrize("degradation", [Bicubic((2, 3)), Jpeg((10, 40)), GaussianNoise((5, 30))])
def test_batches_depend_on_seed_and_position_alone(degradation):
    one, other = (ResidentSampler(images(), degradation, 16, 1, CPU) for _ in range(2))
    one.batch(0, 4)
    for a, b in zip(one.batch(64, 4), other.batch(64, 4), strict=True):
        assert a.shape == (4, 1, 16, 16)
        assert a.dtype == torch.float32
        assert torch.equal(a, b)
    assert not torch.equal(one.batch(64, 4)[1], one.batch(68, 4)[1])
    assert not torch.equal(ResidentSampler(images(), degradation, 16, 2, CPU).batch(64, 4)[1], one.batch(64, 4)[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_pairs_are_patches_of_a_whole_image_degraded_whole_at_any_symmetry(channels):
    degradation = Bicubic((3,))
    sampler = ResidentSampler(images(channels), degradation, 12, 0, CPU)
    places = {}
    for number, image in enumerate(images(channels)):
        clean = image[:, : image.shape[1] // 3 * 3, : image.shape[2] // 3 * 3]
        whole = degradation.apply(clean / np.float32(255), 3)
        for k, (turned, other) in enumerate(zip(symmetries(clean), symmetries(whole), strict=True)):
            for y, x in np.ndindex(turned.shape[1] - 11, turned.shape[2] - 11):
                window = slice(None), slice(y, y + 12), slice(x, x + 12)
                places.setdefault(turned[window].tobytes(), []).append((number, k, other[window]))
    seen = set()
    for degraded, clean in zip(*(part.numpy() for part in sampler.batch(0, 40)), strict=True):
        ((number, k, expected),) = places[np.rint(clean * 255).astype(np.uint8).tobytes()]
        assert np.abs(degraded - expected).max() < 1e-3
        seen.add((number, k))
    assert {number for number, _ in seen} == {0, 1, 2}
    assert {k for _, k in seen} == set(range(8))


def test_noise_covers_its_range():
    degraded, clean = ResidentSampler(images(), GaussianNoise((10, 50)), 32, 0, CPU).batch(0, 200)
    levels = (degraded - clean).std(dim=(1, 2, 3)) * 255
    assert 9 < levels.min() < 14
    assert 46 < levels.max() < 53


@pytest.mark.parametrize("common", [0, 0.5, 1])
def test_half_of_the_noise_may_be_partly_common_to_the_colours(common):
    degradation = GaussianNoise((30, 30), common)
    degraded, clean = ResidentSampler(images(3), degradation, 32, 0, CPU).batch(0, 200)
    noise = (degraded - clean).numpy().reshape(200, 3, -1)
    rng = np.random.default_rng(0)
    alone = np.stack([degradation.apply(np.zeros((3, 32, 32)), 30, rng) for _ in range(200)]).reshape(200, 3, -1)
    for drawn in (noise, alone):
        assert drawn.std(axis=2).mean() * 255 == pytest.approx(30, rel=0.02)  # the level says the same
        alike = np.array([np.corrcoef(planes)[0, 2] for planes in drawn])
        assert 0.45 < (alike < 0.1).mean() < 0.75 if common else alike.max() < 0.2
        assert alike.max() == pytest.approx(common, abs=0.15)


def test_jpeg_levels_spread_over_the_range():
    sampler = ResidentSampler(images(), Jpeg((5, 95)), 16, 0, CPU)
    assert sampler.degraded is not None
    assert 15 < len(sampler.degraded) <= 24


def test_jpegs_of_colours_are_subsampled_in_all_the_ways_that_are_asked_for():
    one, both = (
        ResidentSampler(images(3), Jpeg((80, 80), kinds), 16, 0, CPU) for kinds in (("4:2:0",), ("4:2:0", "4:4:4"))
    )
    sharp = ResidentSampler(images(3), Jpeg((80, 80), ("4:4:4",)), 16, 0, CPU)
    same = [bool((both.degraded[0, :, start] == one.degraded[0, :, start]).all()) for start in both.offsets]
    other = [bool((both.degraded[0, :, start] == sharp.degraded[0, :, start]).all()) for start in both.offsets]
    assert sorted(a + b for a, b in zip(same, other, strict=True)) == [1, 1, 1]
    assert len(set(same)) == 2


def test_a_scale_that_is_named_twice_is_kept_once_and_drawn_twice_as_often():
    kept = [image[:, :48, :36] for image in images() if image.shape[1] >= 48]
    twice, other = (ResidentSampler(kept, Bicubic(scales), 16, 0, CPU) for scales in ((3, 2, 3), (3,)))
    assert len(twice.degraded) == 2
    pairs = zip(twice.batch(0, 600)[0], other.batch(0, 600)[0], strict=True)
    assert 0.6 < np.mean([torch.equal(a, b) for a, b in pairs]) < 0.74


def test_images_smaller_than_the_patch_are_left_out_or_refused():
    assert len(ResidentSampler(images(), GaussianNoise(), 40, 0, CPU).offsets) == 2
    with pytest.raises(UsageError, match="99×99"):
        ResidentSampler(images(), GaussianNoise(), 99, 0, CPU)


def test_images_are_kept_at_smaller_sizes_too():
    kept = ResidentSampler(images(3), GaussianNoise(), 24, 0, CPU, reduced=(0.8, 0.5))
    sides = [(48, 60), (36, 49), (70, 40), (39, 48), (29, 40), (56, 32), (24, 30)]  # the other halves are too small
    assert list(zip(kept.heights.tolist(), kept.widths.tolist(), strict=True)) == sides
    half = kept.clean[:, kept.offsets[-1] :].reshape(3, 24, 30)
    assert np.array_equal(half.numpy(), resize(images(3)[0], 0.5))


def test_a_set_too_large_for_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr("msrn.training.resident_patches.free_memory", lambda: 10_000)
    with pytest.raises(UsageError, match=r"GiB are free.*resident = false"):
        ResidentSampler(images(), Jpeg((5, 95)), 16, 0, CPU)


def test_patches_come_from_everywhere_up_to_the_edges():
    rows, columns = np.indices((20, 24))
    coordinates = np.stack([rows, columns, 0 * rows]).astype(np.uint8) * 5
    _, clean = ResidentSampler([coordinates], GaussianNoise((0, 0)), 16, 0, CPU).batch(0, 400)
    tops, lefts = ({round(v) for v in (clean[:, axis].amin((1, 2)) * 51).tolist()} for axis in (0, 1))
    assert tops == set(range(5))
    assert lefts == set(range(9))


def test_an_image_is_drawn_as_often_as_it_has_places_for_a_patch():
    images = [np.full((1, 16, 16), 0, np.uint8), np.full((1, 31, 31), 255, np.uint8)]
    _, clean = ResidentSampler(images, GaussianNoise((0, 0)), 16, 0, CPU).batch(0, 1000)
    assert clean[:, 0, 0, 0].mean() > 0.98  # 256 of 257 places


def test_smaller_sizes_count_in_the_memory_that_is_needed(monkeypatch):
    images = [np.zeros((1, 100, 100), np.uint8)]
    monkeypatch.setattr(
        "msrn.training.resident_patches.free_memory", lambda: 25_000
    )  # twice 10,000 alone, twice 12,500 with halves
    ResidentSampler(images, GaussianNoise(), 16, 0, CPU)
    monkeypatch.setattr("msrn.training.resident_patches.free_memory", lambda: 24_999)
    with pytest.raises(UsageError, match="are free"):
        ResidentSampler(images, GaussianNoise(), 16, 0, CPU, reduced=(0.5,))
