"""Training images in shards: written once, resumed, verified, read back as they were."""

import http.server
import io
import json
import os
import shutil
import sys
import tarfile
import threading
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from tests.helpers.command import assert_refused, msrn
from tests.helpers.recipes import recipe, train

from msrn.errors import ImageError, UsageError
from msrn.images.folder import load_plane
from msrn.training import known_sets
from msrn.training.loader import split
from msrn.training.shards import Shards, prepare, verify


def noise(height, width, seed, channels=3):
    samples = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(samples if channels == 3 else samples[:, :, 0])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six usable images in two folders and in different modes, one broken, one too small, one no image."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "holiday.2019").mkdir()
    for index in range(4):
        noise(70 + index, 90, index).save(folder / f"{index}.png")
    noise(80, 80, 8, channels=1).save(folder / "holiday.2019" / "gray.bmp")
    noise(80, 80, 9).save(folder / "holiday.2019" / "0.jpg", quality=95)
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:300])
    noise(63, 200, 10).save(folder / "thin.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def sources(folder):
    return [known_sets.locate(str(folder), folder)]


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "set"
    return prepare(sources(photos), folder, shard_bytes=50_000), folder


def test_broken_and_small_images_are_left_out_with_the_reason(prepared):
    done, _ = prepared
    assert done.images == 6
    reasons = {skipped["source"]: skipped["reason"] for skipped in done.skipped}
    assert set(reasons) == {"broken.png", "thin.png"}
    assert "truncated or damaged" in reasons["broken.png"]
    assert "200×63 pixels, less than 64" in reasons["thin.png"]


def test_shards_are_plain_webdataset_tar_files(prepared, photos):
    """Pairs of members with one key each, in order, whose content is the original file and its description."""
    _, folder = prepared
    seen = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            for image, about in zip(members[::2], members[1::2], strict=True):
                key, _, suffix = image.name.partition(".")
                assert about.name == f"{key}.json"
                described = json.load(tar.extractfile(about))
                assert (photos / described["source"]).suffix == f".{suffix}"
                assert tar.extractfile(image).read() == (photos / described["source"]).read_bytes()
                seen.append(described["source"])
    assert sorted(seen) == ["0.png", "1.png", "2.png", "3.png", "holiday.2019/0.jpg", "holiday.2019/gray.bmp"]


@pytest.mark.parametrize(("channels", "color_range"), [(1, "studio"), (1, "full"), (3, "full")])
@pytest.mark.parametrize("budget", [None, 1])
def test_images_come_back_as_from_their_files(prepared, photos, channels, color_range, budget):
    _, folder = prepared
    images = Shards(folder, channels, color_range, budget)
    index = json.loads((folder / "index.json").read_text())
    names = [image["key"] for shard in index["shards"] for image in shard["images"]]
    assert len(images) == len(names) == 6
    for number in (5, 0, 3, 0):
        stem, suffix = names[number].rsplit("-", 1)
        path = photos / f"{stem.replace('holiday_2019', 'holiday.2019')}.{suffix}"
        assert np.array_equal(images[number], load_plane(path, channels, color_range)), names[number]
        assert images[number].shape == np.asarray(images[number]).shape


def test_large_images_are_cut_into_equal_pieces(photos, tmp_path):
    done = prepare(sources(photos / "holiday.2019"), tmp_path / "cut", crop=64, min_side=32)
    assert done.images == 8  # 80×80 in four pieces of 40×40, twice
    pieces = Shards(tmp_path / "cut", 3, "full")
    whole = load_plane(photos / "holiday.2019" / "0.jpg", 3, "full")
    assert np.array_equal(pieces[1], whole[:, :40, 40:])
    with pytest.raises(UsageError, match="crops of 32"):
        prepare(sources(photos), tmp_path / "other", crop=32, min_side=64)


def test_after_an_interruption_only_the_missing_is_written(prepared, photos, tmp_path):
    _, folder = prepared
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    (half / "index.json").unlink()
    (half / "shard-000001.tar").write_bytes(b"half")
    (half / "shard-000000.json").unlink()
    done = prepare(sources(photos), half, shard_bytes=50_000)
    assert done.kept_shards == done.shards - 2 > 0
    for path in sorted(folder.iterdir()):
        assert (half / path.name).read_bytes() == path.read_bytes(), path.name


def test_other_images_or_settings_are_not_mixed_in(prepared, photos):
    _, folder = prepared
    with pytest.raises(UsageError, match="other images or settings"):
        prepare(sources(photos), folder, shard_bytes=50_000, min_side=32)


@pytest.fixture
def copy(prepared, tmp_path):
    """Shards to damage."""
    return shutil.copytree(prepared[1], tmp_path / "copy")


def test_verifying_finds_what_is_damaged_missing_or_too_few(prepared, copy):
    _, folder = prepared
    assert verify(folder) == []
    damaged, missing = copy / "shard-000000.tar", copy / "shard-000001.tar"
    data = bytearray(damaged.read_bytes())
    data[600] ^= 1
    damaged.write_bytes(data)
    missing.unlink()
    found = verify(copy)
    assert len(found) == 2
    assert "SHA-256" in found[0]
    assert "cannot be read" in found[1]
    with pytest.raises(ImageError, match="missing or damaged"):
        Shards(copy, 1, "studio")


def test_nothing_in_a_shard_is_unpickled_and_no_name_leaves_its_folder(copy):
    with tarfile.open(copy / "shard-000000.tar", "a") as tar:
        for name in ("evil.pkl", "../../evil.png", "evil.pyd"):
            member = tarfile.TarInfo(name)
            member.size = 9
            tar.addfile(member, io.BytesIO(b"cos\nsystem"))
    assert len(Shards(copy, 1, "studio")) == 6  # what the index does not name is never opened
    index = json.loads((copy / "index.json").read_text())
    index["shards"][0]["name"] = "../shard-000000.tar"
    (copy / "index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match=r"shards\.0\.name"):
        Shards(copy, 1, "studio")


def crafted(**fields):
    """A member's header that claims anything."""
    member = tarfile.TarInfo("a.png")
    for name, value in fields.items():
        setattr(member, name, value)
    return member.tobuf(tarfile.PAX_FORMAT if member.pax_headers else tarfile.GNU_FORMAT)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "header",
    [
        crafted(size=-1024),
        crafted(size=-512, type=tarfile.XHDTYPE),
        crafted(size=10**15),
        crafted(size=10**15, type=tarfile.XHDTYPE),
        crafted(size=10**15, type=tarfile.GNUTYPE_LONGNAME),
        crafted(pax_headers={"size": "-1024"}),
        crafted(pax_headers={"size": "1" + 20 * "0"}),
        crafted(pax_headers={"GNU.sparse.map": "x", "GNU.sparse.size": "9"}),
        crafted(type=tarfile.GNUTYPE_SPARSE)[:480] + 2 * b"\xff",
        crafted(type=tarfile.GNUTYPE_LONGNAME) * 3000,
    ],
)
def test_a_shard_that_claims_what_it_cannot_hold_is_refused(header, copy):
    path = copy / "shard-000000.tar"
    path.write_bytes(header + path.read_bytes())
    assert any("cannot be read" in line or "SHA-256" in line for line in verify(copy))
    with pytest.raises(ImageError, match="missing or damaged"):
        Shards(copy, 1, "studio")


@pytest.mark.parametrize("content", [b"[]", b"{}", b"\xff", b"[" * 5000, b'{"identity": 3, "images": []}'])
def test_a_scribbled_note_beside_a_shard_costs_its_being_written_again(content, prepared, photos, copy):
    (copy / "shard-000000.json").write_bytes(content)
    done = prepare(sources(photos), copy, shard_bytes=50_000)
    assert done.kept_shards == done.shards - 1
    assert (copy / "shard-000000.json").read_bytes() == (prepared[1] / "shard-000000.json").read_bytes()


def test_an_image_that_is_not_as_the_index_says_is_refused(copy):
    index = json.loads((copy / "index.json").read_text())
    index["shards"][0]["images"][0]["height"] += 1
    (copy / "index.json").write_text(json.dumps(index))
    with pytest.raises(ImageError, match="its index says"):
        Shards(copy, 1, "studio")


SHARD = {"name": "a.tar", "sha256": "0" * 64, "images": [{"key": "a", "height": 9, "width": 9}]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"format": 2, "shards": []}',
        "[1]",
        '{"format": 1, "shards": []}',
        "[" * 100_000,
        '{"format": 1, "shards": [{"name": "a.tar", "sha256": "' + "0" * 64 + '", "images": [{"key": "\\ud800"}]}]}',
        *(
            json.dumps({"format": 1, "shards": [SHARD | change]})
            for change in (
                {"sha256": "../../../../tmp/evil"},
                {"sha256": None},
                {"images": None},
                {"images": [{"key": "a", "height": "x", "width": 9}]},
                {"images": [{"key": "a", "height": 0, "width": 9}]},
                {"images": [{"key": "a", "height": 10**6, "width": 10**6}]},
            )
        ),
    ],
)
def test_an_index_that_is_none_is_named(content, tmp_path):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(UsageError, match=r"index\.json"):
        Shards(tmp_path, 1, "studio")


def test_shards_at_a_url_are_fetched_once_and_checked(prepared, tmp_path, monkeypatch):
    _, folder = prepared
    monkeypatch.setenv("MSRN_CACHE", str(tmp_path / "cache"))
    remote = tmp_path / "remote"
    shutil.copytree(folder, remote)
    url = f"file://{remote}"
    images = Shards(url, 1, "studio")
    assert all(np.array_equal(a, b) for a, b in zip(images, Shards(folder, 1, "studio"), strict=True))
    for path in remote.glob("*.tar"):
        path.unlink()
    assert len(Shards(url, 1, "studio")) == 6  # from the cache
    shutil.rmtree(tmp_path / "cache")
    for path in folder.glob("*.tar"):
        (remote / path.name).write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ImageError, match="differs from its index"):
        Shards(url, 1, "studio")
    assert not list((tmp_path / "cache").rglob("*.tar"))


def test_an_image_that_was_damaged_in_its_shard_is_refused(copy):
    """JPEG has no checksum of its own."""
    path = copy / "shard-000001.tar"
    with tarfile.open(path) as tar:
        member = next(member for member in tar.getmembers() if member.name.endswith(".jpg"))
    data = bytearray(path.read_bytes())
    data[member.offset_data + member.size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageError, match="not as it was written"):
        Shards(copy, 1, "studio")


def test_a_large_image_or_an_unreadable_file_costs_itself(photos, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "photos")
    (folder / "memory.png").symlink_to("/proc/self/mem")  # which is there and cannot be read
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".msrn-0123.tmp").touch()  # of a call that was killed
    done = prepare(sources(folder), tmp_path / "out", max_pixels=6500)
    reasons = {skipped["source"]: skipped["reason"] for skipped in done.skipped}
    assert done.images == 5
    assert "more than 6,500 pixels" in reasons["3.png"]
    assert "cannot read" in reasons["memory.png"]
    assert not list((tmp_path / "out").glob(".msrn*"))
    assert verify(tmp_path / "out") == []


class _Server(http.server.SimpleHTTPRequestHandler):
    """Answers badly as often as told."""

    bad: ClassVar[list[str]] = []

    def do_GET(self):
        how = self.bad.pop(0) if self.bad and self.path.endswith(".tar") else ""
        if how == "500":
            self.send_error(500)
        elif how == "half":
            data = (Path(self.directory) / self.path[1:]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def web(prepared, tmp_path, monkeypatch):
    """The address of the shards on a server, and how it is told to answer badly."""
    monkeypatch.setenv("MSRN_CACHE", str(tmp_path / "cache"))
    handler = type("Handler", (_Server,), {"bad": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(prepared[1])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.bad
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("bad", [[], ["500"], ["half", "500"]])
def test_a_server_that_fails_now_and_then_is_asked_again(web, bad, prepared):
    address, badly = web
    badly += bad
    images = Shards(address, 1, "studio", pause=0)
    assert all(np.array_equal(a, b) for a, b in zip(images, Shards(prepared[1], 1, "studio"), strict=True))


@pytest.mark.parametrize("bad", ["half", "500"])
def test_a_server_that_fails_again_and_again_is_named(web, bad, tmp_path):
    address, badly = web
    badly += [bad] * 1000
    with pytest.raises(ImageError, match=rf"cannot read {address}/shard-000000\.tar"):
        Shards(address, 1, "studio", pause=0)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "url",
    [
        "reference://{folder}/reference.json",
        "simplecache::https://example.org/shards",
        "file://{folder}::reference://",
        "github://owner:repository@/shards",
        "REFERENCE://{folder}",
        "://{folder}",
    ],
)
def test_an_address_of_another_kind_is_not_opened(url, tmp_path, monkeypatch):
    """fsspec would render templates of ``reference://``, which may be any code, and a chain may hide it."""
    monkeypatch.setattr("fsspec.open", lambda *_, **__: pytest.fail("it was opened"))
    monkeypatch.setattr("fsspec.filesystem", lambda *_, **__: pytest.fail("it was opened"))
    url = url.format(folder=tmp_path)
    plan = recipe(data__folders=[url])
    with pytest.raises(UsageError, match="is not opened: shards are read from one address"):
        Shards(url, 1, "studio")
    with pytest.raises(UsageError, match="is not opened"):
        train(plan, tmp_path, tmp_path / "run")
    if url.startswith("reference"):  # a command takes seconds, and does no more than this
        (tmp_path / "hostile.json").write_text(plan.model_dump_json())
        assert_refused(msrn("train", tmp_path / "hostile.json", "--dry-run", "--device", "cpu"), 2, "is not opened")


def test_an_address_without_shards_is_named(web):
    address, _ = web
    with pytest.raises(UsageError, match=r"nowhere/index\.json: there is no such file"):
        Shards(f"{address}/nowhere", 1, "studio")
    with pytest.raises(UsageError, match=r"cannot read http://127\.0\.0\.1:1/"):
        Shards("http://127.0.0.1:1", 1, "studio", pause=0)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes there only")
def test_names_that_are_no_unicode_are_written_so_that_they_can_be_read(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    noise(80, 80, 0).save(tmp_path / "x.png")
    for name, content in ((b"\xff.png", (tmp_path / "x.png").read_bytes()), (b"\xfe.png", b"broken")):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)
    done = prepare(sources(folder), tmp_path / "shards")
    assert (done.images, len(done.skipped)) == (1, 1)
    assert verify(tmp_path / "shards") == []
    assert len(Shards(str(tmp_path / "shards"), 3, "full")) == 1


def test_no_usable_image_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    noise(10, 10, 0).save(tmp_path / "in" / "small.png")
    with pytest.raises(UsageError, match=r"no usable image among 1 files.*10×10"):
        prepare(sources(tmp_path / "in"), tmp_path / "out")


def test_training_on_shards_equals_training_on_their_files(prepared, photos, tmp_path):
    """Also where only one decoded image fits at a time."""
    _, folder = prepared
    flat = tmp_path / "flat"
    flat.mkdir()
    index = json.loads((folder / "index.json").read_text())
    for number, key in enumerate(image["key"] for shard in index["shards"] for image in shard["images"]):
        stem, suffix = key.replace("holiday_2019", "holiday.2019").rsplit("-", 1)
        shutil.copy(photos / f"{stem}.{suffix}", flat / f"{number}.{suffix}")
    losses = {}
    for source in (flat, folder):
        network = {"memory_blocks": 1, "recursions": 1, "channels": 2}
        data = {"folders": [str(source)], "patch": 12, "validation_every": 4, "validation_levels": [10]}
        plan = recipe(task="jpeg", network=network, growth=None, data=data, optimiser={"batch": 4, "steps": 4})
        losses[source] = []
        run = tmp_path / f"run-{source.name}"
        train(plan, tmp_path, run, report=lambda now, s=source: losses[s].append(now.loss))
    assert losses[flat] == losses[folder]


def test_a_split_decodes_nothing(copy):
    images = Shards(copy, 1, "studio", budget=1)
    for path in copy.glob("*.tar"):
        path.unlink()
    training, held_out = split(images, 3)
    assert (len(training), len(held_out)) == (4, 2)
    assert [image.shape[0] for image in training] == [1, 1, 1, 1]


# --- known sets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("DIV2K", ["DIV2K/DIV2K_train_HR/0001.png", "DIV2K/DIV2K_train_HR/0002.png"]),
        ("flickr2k", ["Flickr2K/Flickr2K_HR/000001.png"]),
        ("ost", ["OutdoorSceneTrain_v2/sky/1.png", "OutdoorSceneTrain_v2/water/1.png"]),
        ("div8k", ["DIV8K/train/HR/0001.png"]),
        ("t91", ["T91/t1.png"]),
        ("bsds200", ["BSDS300/images/train/2092.jpg"]),
        ("set5", ["Set5/baby.png"]),
        ("set14", ["Set14/image_SRF_4/img_001_SRF_4_HR.png"]),
        ("bsds100", ["BSDS300/images/test/3096.jpg"]),
    ],
)
def test_known_sets_are_found_in_their_usual_layouts(name, files, tmp_path):
    for file in [*files, "Set14/image_SRF_4/img_001_SRF_4_LR.png", "DIV2K/DIV2K_train_HR/readme.txt"]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    root, found = known_sets.locate(name, tmp_path)
    assert [path.relative_to(root).as_posix() for path in found] == files


def test_unknown_and_absent_sets_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere is neither a folder nor one of the known sets \(t91"):
        known_sets.locate("nowhere", tmp_path)
    with pytest.raises(UsageError, match="DIV2K is not under"):
        known_sets.locate("DIV2K", tmp_path)
    with pytest.raises(UsageError, match="no images in"):
        known_sets.locate(str(tmp_path), tmp_path)


def test_the_sets_that_are_scored_on_are_marked():
    scored = {name for name, dataset in known_sets.DATASETS.items() if dataset.evaluation}
    assert scored == {"set5", "set14", "bsds100", "div2k-valid"}


def test_every_known_set_is_documented(pytestconfig):
    page = (pytestconfig.rootpath / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert [name for name in known_sets.DATASETS if f"`{name}`" not in page] == []
