"""Training pairs are a pure function of seed and index, and look like what the whole image would give."""

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from msrn.errors import ImageError, UsageError
from msrn.images.degradations import Bicubic, GaussianNoise, Jpeg
from msrn.images.folder import list_images
from msrn.images.picture import to_uint8
from msrn.images.resize import resize
from msrn.training.loader import Pack, digest_of, load_material, load_pack, read_folders, save_pack, split
from msrn.training.patches import PatchSampler
from msrn.training.recipe_file import validate
from msrn.training.retouch import off_grid


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
    big = np.random.default_rng(1).integers(0, 256, (96, 96), dtype=np.uint8)
    turns = [np.rot90(each, turn) for each in (big, big[:, ::-1]) for turn in range(4)]
    places = {
        turned[y : y + 12, x : x + 12].tobytes(): (number, y, x)
        for number, turned in enumerate(turns)
        for y, x in np.ndindex(85, 85)
    }

    @cache
    def whole(number, dy, dx):
        shifted = turns[number][None, dy:, dx:] / 255
        side = [length - length % scale for length in shifted.shape[1:]]
        return Bicubic().apply(shifted[:, : side[0], : side[1]], scale)[0]

    sampler = PatchSampler([big[None]], Bicubic((scale,)), 12, seed=0)
    phases = set()
    for index in range(25):
        degraded, clean = sampler.sample(index)
        number, y, x = places[np.rint(clean * 255).astype(np.uint8).tobytes()]
        candidates = []
        for dy in range(scale):
            for dx in range(scale):
                part = whole(number, dy, dx)[y - dy : y - dy + 12, x - dx : x - dx + 12]
                if part.shape == (12, 12) and np.abs(part - degraded[0]).max() < 1e-5:
                    candidates.append(((y - dy) % scale, (x - dx) % scale))
        assert candidates
        phases.update(candidates)
    assert len(phases) > scale  # not always the same corner of the grid


class Coordinates:
    """A degradation whose result tells where in its input each pixel lay: 100·row + column, in 255ths."""

    context, period = 5, 3

    def multiple(self, level):
        return 2

    def sample(self, rng):
        return 1.0

    def apply(self, clean, level, rng):
        self.size = clean.shape[1:]
        rows, columns = np.indices(self.size)
        return (100 * rows + columns)[None].astype(clean.dtype)


def test_patches_come_at_every_phase_alike_and_never_without_their_context():
    degradation = Coordinates()
    sampler = PatchSampler([np.zeros((1, 40, 50), np.uint8)], degradation, 8, seed=0)
    corners = []
    for index in range(900):
        degraded, _ = sampler.sample(index)
        top, left = divmod(int(degraded[0, 0, 0]), 100)
        bottom, right = divmod(int(degraded[0, -1, -1]), 100)
        assert min(top, left) >= 5
        assert max(bottom - degradation.size[0], right - degradation.size[1]) < -5
        corners.append((top, left))
    counts = [corners.count((5 + y, 5 + x)) for y in range(3) for x in range(3)]
    assert sum(counts) == 900
    assert 70 < min(counts) <= max(counts) < 130


@pytest.mark.parametrize("degradation", [GaussianNoise((0, 0)), Bicubic((2,))])
def test_patches_come_in_all_eight_orientations_and_from_everywhere(degradation):
    rows, columns = np.divmod(np.arange(48 * 60).reshape(48, 60), 60)
    orientations, places = set(), set()
    for number, plane in enumerate((rows, columns)):
        sampler = PatchSampler([(plane * 4).astype(np.uint8)[None]], degradation, 8, seed=0)
        for index in range(400):
            _, clean = sampler.sample(index)
            down, right = clean[0, 1, 0] - clean[0, 0, 0], clean[0, 0, 1] - clean[0, 0, 0]
            orientations.add((number, int(np.sign(down)), int(np.sign(right))))
            places.add((number, round(float(clean.min()) * 255) // 4))
    # Rows run down, up, right or left, and so do columns; both together distinguish all eight.
    assert orientations == {(n, *way) for n in (0, 1) for way in ((1, 0), (-1, 0), (0, 1), (0, -1))}
    reached = [sorted(place for number, place in places if number == n) for n in (0, 1)]
    first = degradation.context
    for found, length in zip(reached, (48, 60), strict=True):
        assert found == list(range(first, length - 8 - first + 1))


def test_all_eight_orientations_occur_as_pairs():
    square = np.random.default_rng(0).integers(0, 256, (1, 9, 9), dtype=np.uint8)
    sampler = PatchSampler([square], GaussianNoise((0, 0)), 9, seed=0)
    assert len({sampler.sample(index)[1].tobytes() for index in range(100)}) == 8


def test_epochs_differ_in_order_and_in_patches():
    sampler = PatchSampler(images(((32, 32), (64, 64))), GaussianNoise((0, 0)), 16, seed=0)
    size = sampler.samples_per_epoch
    first, second = ([sampler.sample(epoch * size + i)[1] for i in range(size)] for epoch in (0, 1))
    assert len({patch.tobytes() for patch in first + second}) == 2 * size
    flat = PatchSampler([np.full((1, 32, 32), v, np.uint8) for v in range(30)], GaussianNoise((0, 0)), 32, seed=0)
    orders = [[round(flat.sample(e * 30 + i)[1][0, 0, 0] * 255) for i in range(30)] for e in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(30))


def test_noise_is_of_the_level_drawn_and_jpeg_of_one_in_range():
    noise = PatchSampler(images(), GaussianNoise((10, 50)), 32, seed=0)
    deviations = [float(np.std(np.subtract(*noise.sample(index))) * 255) for index in range(150)]
    assert 9 < min(deviations) < 14
    assert 46 < max(deviations) < 53
    jpeg = PatchSampler(images(), Jpeg((10, 10)), 32, seed=0)
    degraded, clean = jpeg.sample(0)
    assert 0 < np.abs(degraded - clean).mean() < 0.5
    np.testing.assert_allclose(degraded * 255, np.rint(degraded * 255), atol=1e-4)


def test_an_image_of_just_the_needed_size_serves_and_one_smaller_does_not():
    sampler = PatchSampler([np.zeros((1, 16, 16), np.uint8)], GaussianNoise(), 16, seed=0)
    assert sampler.samples_per_epoch == 1
    side = 8 + 2 * Bicubic((2,)).context + 2 * (2 - 1)
    degraded, clean = PatchSampler([np.zeros((1, side, side), np.uint8)], Bicubic((2,)), 8, seed=0).sample(3)
    assert degraded.shape == clean.shape == (1, 8, 8)
    with pytest.raises(UsageError, match=f"{side}×{side}"):
        PatchSampler([np.zeros((1, side - 1, side), np.uint8)], Bicubic((2,)), 8, seed=0)


def test_jpeg_grids_come_at_every_phase():
    sampler = PatchSampler([np.random.default_rng(0).integers(0, 256, (1, 64, 64), np.uint8)], Jpeg((5, 5)), 16, seed=0)
    borders = set()
    for index in range(60):
        jumps = np.abs(np.diff(sampler.sample(index)[0][0], axis=1)).sum(0)
        borders.add(int(np.argmax([jumps[k::8].mean() for k in range(8)])))
    assert len(borders) == 8


def test_a_jpeg_is_not_compressed_again_block_by_block(tmp_path):
    rng = np.random.default_rng(0)
    texture = to_uint8(resize(rng.random((1, 40, 48)), 2))
    once = to_uint8(Jpeg().apply(texture / np.float32(255), 90))
    first = float(np.abs(once / 255 - texture / 255).mean())
    for index in range(4):
        Image.fromarray(once[0]).save(tmp_path / f"{index}.png")
    values = {
        "name": "tiny",
        "task": "jpeg",
        "data": {"folders": ["."], "patch": 32, "resident": True, "levels": [90], "validation_levels": [90]},
        "optimiser": {"steps": 1},
    }
    material = load_material(validate(values, "test"), tmp_path, torch.device("cpu"))
    degraded, clean = material.sampler.batch(0, 30)
    assert float((degraded - clean).abs().mean()) > first / 2
    held_out = material.held_out.crops[0] / np.float32(255)
    assert float(np.abs(Jpeg().apply(held_out, 90) - held_out).mean()) > first / 2
    again = once / np.float32(255)
    assert float(np.abs(Jpeg().apply(again, 90) - again).mean()) < first / 5  # as it would have been


@pytest.mark.parametrize("number", range(20))
def test_no_block_stays_where_it_was(number):
    rows, columns = np.indices((40, 50))
    top, left = (int(off_grid(plane[None], number)[0, 0, 0]) for plane in (rows, columns))
    assert 1 <= top <= 7
    assert 1 <= left <= 7


def test_images_smaller_than_patch_and_context_are_left_out_or_refused():
    large = PatchSampler(images(), Bicubic(), 16, 0).samples_per_epoch
    assert PatchSampler([*images(), np.zeros((1, 20, 20), np.uint8)], Bicubic(), 16, 0).samples_per_epoch == large
    with pytest.raises(UsageError, match="pixels"):
        PatchSampler([np.zeros((1, 20, 20), np.uint8)], Bicubic(), 16, 0)


def test_the_held_out_part_is_stable_and_apart(tmp_path):
    paths = [tmp_path / str(i) for i in range(45)]
    training, held_out = map(list, split(paths, 20))
    assert held_out == [paths[10], paths[30]]
    assert sorted([*training, *held_out]) == sorted(paths)
    assert tuple(map(list, split(paths, 20))) == (training, held_out)
    assert list(split(paths[:10], 20)[1]) == [paths[5]]  # one at least
    assert tuple(map(list, split(paths[:2], 20))) == ([paths[0]], [paths[1]])
    with pytest.raises(UsageError, match="one image is not enough"):
        split(paths[:1], 20)


def test_a_pack_comes_back_and_other_files_are_refused(tmp_path):
    path = tmp_path / "set.npz"
    save_pack(Pack(images(), "full"), path)
    back = load_pack(path)
    assert back.color_range == "full"
    assert all(np.array_equal(a, b) for a, b in zip(back.images, images(), strict=True))
    (tmp_path / "short.npz").write_bytes(path.read_bytes()[:500])
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "pickle.npz", np.array([object()], dtype=object))
    np.save(tmp_path / "array.npy", np.zeros((1, 4, 4), np.uint8))
    np.savez(tmp_path / "none.npz", color_range=np.array("full"))
    np.savez(tmp_path / "float.npz", **{"000000": np.zeros((1, 4, 4)), "color_range": np.array("full")})
    np.savez(tmp_path / "flat.npz", **{"000000": np.zeros((4, 4), np.uint8), "color_range": np.array("full")})
    made = ("array.npy", "none.npz", "float.npz", "flat.npz")
    for name in ("short.npz", "text.npz", "pickle.npz", "nowhere.npz", *made):
        with pytest.raises(ImageError, match=name):
            load_pack(tmp_path / name)


def test_hostile_packs_are_refused_before_anything_is_made(tmp_path, monkeypatch):
    path, hostile = tmp_path / "set.npz", tmp_path / "hostile.npz"
    save_pack(Pack([np.zeros((1, 9, 9), np.uint8)], "full"), path)
    whole = path.read_bytes()
    header = whole.index(b"(1, 9, 9)")
    entry = whole.index(b"PK\x01\x02")
    changed = {
        "encrypted": (entry + 8, b"\x01"),
        "compressed in an unknown way": (entry + 10, b"\x63"),
        "larger than its file": (entry + 24, b"\xff\xff\xff\x7f"),
        "another shape": (header, b"(9, 9, 9)"),
    }
    for at, new in changed.values():
        hostile.write_bytes(whole[:at] + new + whole[at + len(new) :])
        with pytest.raises(ImageError, match=r"hostile\.npz is not a packed training set"):
            load_pack(hostile)
    np.savez_compressed(hostile, **{"000000": np.zeros((1, 3000, 3000), np.uint8), "color_range": np.array("full")})
    monkeypatch.setattr(np, "frombuffer", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(ImageError, match="claims more than it holds"):
        load_pack(hostile)


def test_held_out_images_too_small_to_be_scored_are_left_out(tmp_path, caplog):
    for index, side in enumerate((60, 3, 60, 60)):  # with every third held out: the second
        pixels = np.zeros((side, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    values = {
        "name": "tiny",
        "task": "sr",
        "data": {"folders": ["."], "patch": 8, "validation_every": 3, "validation_levels": [4]},
        "optimiser": {"steps": 1},
    }
    with pytest.raises(UsageError, match="held out"):
        load_material(validate(values, "test"), tmp_path, torch.device("cpu"))
    for index in range(4, 7):
        Image.fromarray(np.zeros((60, 60, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    material = load_material(validate(values, "test"), tmp_path, torch.device("cpu"))
    assert [crop.shape for crop in material.held_out.crops] == [(1, 60, 60)]
    assert "1 held-out images are smaller" in caplog.text


def test_an_image_that_two_folders_lead_to_is_named_once(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    found = list_images([tmp_path, tmp_path / "sub", tmp_path], nested=True)
    assert [path.name for path in found] == ["a.png", "b.png"]


def test_folders_that_do_not_fit_in_half_of_the_memory_are_refused(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    needed = 10_000 * (1 + 48)
    monkeypatch.setattr("msrn.training.loader.free_memory", lambda: 2 * needed - 1)
    with pytest.raises(UsageError, match="msrn prepare"):
        read_folders([tmp_path], 1, "full")
    monkeypatch.setattr("msrn.training.loader.free_memory", lambda: 2 * needed)
    assert len(read_folders([tmp_path], 1, "full").images) == 1


def test_the_digest_of_images_holds_their_shape():
    wide, high = (np.zeros((1, *size), np.uint8) for size in ((2, 3), (3, 2)))
    assert digest_of([wide]) != digest_of([high])


def test_patches_come_from_reduced_and_painted_images_too(data_folder):
    recipe = {
        "name": "x",
        "task": "photo",
        "network": {"in_channels": 3},
        "data": {"folders": ["images"], "patch": 8, "validation_levels": [0]},
        "optimiser": {"steps": 1},
    }
    plain = load_material(validate(recipe, "x"), data_folder, torch.device("cpu")).sampler
    recipe["data"] |= {"reduced": [0.75], "graphics": 1.0}
    richer = load_material(validate(recipe, "x"), data_folder, torch.device("cpu")).sampler
    assert [image.shape[1] for image in richer.images] == [72] * 3 + [54] * 3
    assert not np.array_equal(richer.images[0], plain.images[0])
