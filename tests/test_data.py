"""Training pairs are a pure function of seed and index, and look like what the whole image would give."""

import numpy as np
import pytest
from PIL import Image

from msrn.data import Pack, PatchSampler, list_images, load_pack, load_plane, save_pack, split
from msrn.degrade import Bicubic, GaussianNoise, Jpeg
from msrn.errors import ImageError, UsageError


def images(sides=((90, 80), (120, 100), (100, 130))):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (1, *side), dtype=np.uint8) for side in sides]


@pytest.mark.parametrize("degradation", [Bicubic((2, 3, 4)), GaussianNoise((0, 50)), Jpeg((5, 60))])
def test_a_sample_depends_on_seed_and_index_alone(degradation):
    one, other = (PatchSampler(images(), degradation, 16, seed=3) for _ in range(2))
    later = one.sample(50)
    for index in (7, 50, 1000):
        for a, b in zip(one.sample(index), other.sample(index), strict=True):
            assert a.shape == (1, 16, 16)
            assert a.dtype == np.float32
            assert np.array_equal(a, b)
    assert np.array_equal(later[0], one.sample(50)[0])
    degraded, clean = one.batch(48, 4)
    assert np.array_equal(degraded[2], later[0])
    assert np.array_equal(clean[2], later[1])
    assert not np.array_equal(PatchSampler(images(), degradation, 16, seed=4).sample(50)[1], later[1])


def test_an_epoch_visits_every_image_by_its_size():
    sampler = PatchSampler([np.full((1, s, s), s, np.uint8) for s in (32, 64, 128)], GaussianNoise((0, 0)), 16, seed=0)
    assert sampler.samples_per_epoch == 4 + 16 + 64
    for epoch in (0, 1):
        first = epoch * sampler.samples_per_epoch
        seen = [round(sampler.sample(first + i)[1][0, 0, 0] * 255) for i in range(sampler.samples_per_epoch)]
        assert {side: seen.count(side) for side in set(seen)} == {32: 4, 64: 16, 128: 64}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_patch_is_degraded_as_inside_the_whole_image(scale):
    """Every sampled pair is found in the degraded whole image, at some orientation and phase."""
    big = np.random.default_rng(1).integers(0, 256, (1, 96, 96), dtype=np.uint8)
    sampler = PatchSampler([big], Bicubic((scale,)), 12, seed=0)
    phases = set()
    for index in range(25):
        degraded, clean = sampler.sample(index)
        offsets = []
        for turn in range(8):
            turned = np.rot90(big, turn % 4, axes=(1, 2))
            turned = (turned[:, :, ::-1] if turn >= 4 else turned) / 255
            windows = np.lib.stride_tricks.sliding_window_view(turned[0], (12, 12))
            found = np.argwhere(np.abs(windows - clean[0]).max((2, 3)) < 1e-6)
            offsets += [(turned, *place) for place in found]
        ((turned, y, x),) = offsets
        candidates = []
        for dy in range(scale):
            for dx in range(scale):
                shifted = turned[:, dy:, dx:]
                side = [length - length % scale for length in shifted.shape[1:]]
                whole = Bicubic().apply(shifted[:, : side[0], : side[1]], scale)
                part = whole[0, y - dy : y - dy + 12, x - dx : x - dx + 12]
                if part.shape == (12, 12) and np.abs(part - degraded[0]).max() < 1e-5:
                    candidates.append(((y - dy) % scale, (x - dx) % scale))
        assert candidates
        phases.update(candidates)
    assert len(phases) > scale  # not always the same corner of the grid


def test_jpeg_grids_come_at_every_phase():
    sampler = PatchSampler([np.random.default_rng(0).integers(0, 256, (1, 64, 64), np.uint8)], Jpeg((5, 5)), 16, seed=0)
    borders = set()
    for index in range(60):
        jumps = np.abs(np.diff(sampler.sample(index)[0][0], axis=1)).sum(0)
        borders.add(int(np.argmax([jumps[k::8].mean() for k in range(8)])))
    assert len(borders) == 8


def test_images_smaller_than_patch_and_context_are_left_out_or_refused():
    assert len(PatchSampler([*images(), np.zeros((1, 20, 20), np.uint8)], Bicubic(), 16, 0).images) == 3
    with pytest.raises(UsageError, match="pixels"):
        PatchSampler([np.zeros((1, 20, 20), np.uint8)], Bicubic(), 16, 0)


def test_listing_is_sorted_and_refuses_what_is_not_there(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images([tmp_path])] == ["a.JPG", "b.png"]
    with pytest.raises(UsageError, match="nowhere"):
        list_images([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images"):
        list_images([tmp_path / "empty"])


def test_the_held_out_part_is_stable_and_apart(tmp_path):
    paths = [tmp_path / str(i) for i in range(45)]
    training, held_out = split(paths, 20)
    assert held_out == [paths[10], paths[30]]
    assert sorted([*training, *held_out]) == sorted(paths)


def test_planes_are_gray_as_they_are_and_colour_as_asked(tmp_path):
    gray, color = tmp_path / "gray.png", tmp_path / "color.png"
    Image.fromarray(np.full((5, 6), 200, np.uint8)).save(gray)
    Image.new("RGB", (6, 5), (255, 255, 255)).save(color)
    assert load_plane(gray, 1, "studio")[0, 0, 0] == 200
    assert load_plane(gray, 3, "studio").shape == (3, 5, 6)
    assert load_plane(color, 1, "studio")[0, 0, 0] == 235
    assert load_plane(color, 1, "full")[0, 0, 0] == 255
    with pytest.raises(ImageError, match=r"missing\.png"):
        load_plane(tmp_path / "missing.png", 1, "full")


def test_a_pack_comes_back_and_other_files_are_refused(tmp_path):
    path = tmp_path / "set.npz"
    save_pack(Pack(images(), "full"), path)
    back = load_pack(path)
    assert back.color_range == "full"
    assert all(np.array_equal(a, b) for a, b in zip(back.images, images(), strict=True))
    (tmp_path / "short.npz").write_bytes(path.read_bytes()[:500])
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "pickle.npz", np.array([object()], dtype=object))
    for name in ("short.npz", "text.npz", "pickle.npz", "nowhere.npz"):
        with pytest.raises(ImageError, match=name):
            load_pack(tmp_path / name)
