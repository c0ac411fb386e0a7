"""A manifest lists every image once, names every output once, and is cut into shards of as many bytes."""

import json
from contextlib import suppress

import numpy as np
import pytest
from tests.helpers.fuzz import mutated
from tests.helpers.manifests import manifest_of, png

from msrn.batch.cluster import ManifestTable, Request, Shard, listing, make_manifest, place_at
from msrn.batch.cluster.table import META, UNSEALED, group_digest, seal
from msrn.errors import OutputError, UsageError

SIZES = [1, 0, 900, 40, 40, 40, 300, 0, 7, 7, 7, 7, 500, 20, 3, 0]


@pytest.fixture
def sized(tmp_path, monkeypatch):
    """A manifest of files of many sizes, in row groups of three."""
    monkeypatch.setattr(listing, "_GROUP", 3)
    for number, size in enumerate(SIZES):
        place_at(tmp_path / "in").create(f"{number:02}.png", bytes(size))
    make_manifest(str(tmp_path / "in"), str(tmp_path / "m.parquet"), Request())
    return ManifestTable(str(tmp_path / "m.parquet"))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 40])
def test_every_row_is_in_exactly_one_shard(sized, count):
    rows = [[entry.row for entry in sized.entries(Shard(index, count))] for index in range(count)]
    assert [row for each in rows for row in each] == list(range(len(SIZES)))
    for index, of_shard in enumerate(rows):
        first, last = sized.row_range(Shard(index, count))
        assert all(first <= row <= last for row in of_shard)
        assert sum(SIZES[row] for row in of_shard) < sum(SIZES) / count + max(SIZES)


def test_a_shard_reads_only_its_part_of_the_file(sized):
    assert sized.file.metadata.num_row_groups == 6
    assert sized.groups(Shard(0, 1)) == list(range(6))
    assert max(len(sized.groups(Shard(index, 6))) for index in range(6)) < 6
    assert sized.groups(Shard(5, 6)) == [4, 5]


@pytest.mark.parametrize("text", ["3/3", "-1/3", "0/0", "1", "a/b", "1/2/3"])
def test_shards_that_there_are_not_are_refused(text):
    with pytest.raises(UsageError, match="--shard"):
        Shard.parse(text)


def test_images_are_listed_with_their_uris_and_other_files_are_counted(where, identity):
    place = place_at(where("photos"))
    for name, data in (("b.jpg", b"12345"), ("deep/er/a ü.PNG", b"123"), ("notes.txt", b""), ("clip.mp4", b"1")):
        place.create(name, data)
    listed = make_manifest(place.uri, where("m.parquet"), Request(), extension="webp", suffix="_x")
    assert (listed.images, listed.bytes) == (2, 8)
    assert listed.left_out.total() == (1 if hasattr(place, "folder") else 2)  # folders: images and videos only
    entries = list(ManifestTable(where("m.parquet")).entries())
    assert [(entry.row, entry.id, entry.size, entry.output) for entry in entries] == [
        (0, "b.jpg", 5, "b_x.webp"),
        (1, "deep/er/a ü.PNG", 3, "deep/er/a ü_x.webp"),
    ]
    assert entries[1].uri == f"{place.uri}/deep/er/a%20%C3%BC.PNG"


def test_a_request_comes_back_as_it_was(where, identity):
    place_at(where("photos")).create("a.png", png(0))
    manifest = manifest_of(where("photos"), where("m.parquet"), identity, quality=80, size=(None, 40))
    assert manifest.request.weights == identity
    assert (manifest.request.settings.quality, manifest.request.settings.size) == (80, (None, 40))
    assert len(manifest.request.identity) == 64
    manifest.request.check(manifest.request.restorer("cpu"))


def test_two_images_of_one_output_are_refused(where):
    place = place_at(where("photos"))
    for name in ("a.jpg", "b.jpg", "a.png"):
        place.create(name, b"1")
    with pytest.raises(UsageError, match=r"a\.jpg and a\.png would both be written to a\.png"):
        make_manifest(place.uri, where("m.parquet"), Request())
    assert place_at(where("")).size("m.parquet") is None
    assert make_manifest(place.uri, where("m.parquet"), Request(), full_names=True).images == 3


def test_a_manifest_is_not_replaced_by_accident(where):
    place_at(where("photos")).create("a.png", b"1")
    make_manifest(where("photos"), where("m.parquet"), Request())
    with pytest.raises(OutputError, match="exists"):
        make_manifest(where("photos"), where("m.parquet"), Request())
    make_manifest(where("photos"), where("m.parquet"), Request(), overwrite=True)


def test_what_is_no_manifest_is_refused(where, tmp_path):
    place_at(where("x")).create("a.txt", b"text")
    with pytest.raises(UsageError, match=r"a\.txt is no manifest"):
        ManifestTable(where("x") + "/a.txt")
    with pytest.raises(UsageError, match="cannot read"):
        ManifestTable(where("x") + "/missing.parquet")
    with pytest.raises(UsageError, match="no images"):
        make_manifest(where("x"), where("m.parquet"), Request())
    with pytest.raises(UsageError, match="no such folder"):
        make_manifest(str(tmp_path / "nowhere"), where("m.parquet"), Request())
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="not made by `msrn manifest`"):
        ManifestTable(str(tmp_path / "other.parquet"))


CHANGES = {
    "other columns": lambda said, table: table.set_column(1, "id", [list(range(len(SIZES)))]),
    "a device": lambda said, table: said["request"]["computing"].update(device="cpu"),
    "quality": lambda said, table: said["request"]["settings"].update(quality="high"),
    "weights": lambda said, table: said["request"].update(weights=[7]),
    "choices": lambda said, table: said["request"].update(choices={"a": ["int8"]}),
    "nothing asked": lambda said, table: said.update(request=None),
}


def rewritten(path, change=lambda said, table: None, **options):
    """A manifest that somebody has changed, who knows how it is sealed."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    said = json.loads(parquet.ParquetFile(path).metadata.metadata[META])
    valid, table = table, change(said, table) or table
    said |= {"seal": UNSEALED, "groups": [group_digest(column.to_pylist() for column in valid.columns)]}
    parquet.write_table(table.replace_schema_metadata({META: json.dumps(said).encode()}), path, **options)
    seal(path)
    return str(path)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_strangers_manifest_is_checked_before_it_is_followed(sized, tmp_path, change):
    assert len(list(ManifestTable(rewritten(tmp_path / "m.parquet")).entries())) == len(SIZES)
    with pytest.raises(UsageError, match="is no manifest: it was not made by"):
        ManifestTable(rewritten(tmp_path / "m.parquet", change))


def test_a_manifest_without_statistics_is_refused(sized, tmp_path):
    table = ManifestTable(rewritten(tmp_path / "m.parquet", write_statistics=False))
    with pytest.raises(UsageError, match="is no manifest"):
        list(table.entries())


def test_names_that_are_no_text_are_refused(sized, tmp_path):
    def bytes_for_names(said, table):
        pyarrow = pytest.importorskip("pyarrow")
        place = table.column_names.index("output")
        names = pyarrow.array([b"\xff.png"] * len(SIZES), pyarrow.binary()).view(table.schema.field(place).type)
        return table.set_column(place, table.schema.field(place), names)

    table = ManifestTable(rewritten(tmp_path / "m.parquet", bytes_for_names))
    with pytest.raises(UsageError, match="cannot read"):
        list(table.entries())


def test_every_flipped_bit_of_a_manifests_pages_is_found(sized, tmp_path):
    whole, rng = (tmp_path / "m.parquet").read_bytes(), np.random.default_rng(0)
    lines = [entry.output for entry in sized.entries()]
    group = sized.file.metadata.row_group(0)
    column = next(group.column(k) for k in range(group.num_columns) if group.column(k).path_in_schema == "output")
    start = column.dictionary_page_offset or column.data_page_offset
    for at in rng.integers(start, start + column.total_compressed_size, 200):
        (tmp_path / "m.parquet").write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with suppress(UsageError):
            assert [entry.output for entry in ManifestTable(str(tmp_path / "m.parquet")).entries()] == lines


def test_a_changed_footer_is_refused(sized, tmp_path):
    """It says which rows a shard reads, and where they are, and Parquet has no checksum of it."""
    whole = (tmp_path / "m.parquet").read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")
    for at in range(len(whole) - 8 - length, len(whole) - 8, 7):
        (tmp_path / "m.parquet").write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(UsageError, match="is no manifest"):
            ManifestTable(str(tmp_path / "m.parquet"))


def test_a_damaged_manifest_is_refused_or_read(sized, tmp_path):
    whole, rng = (tmp_path / "m.parquet").read_bytes(), np.random.default_rng(0)
    lines = [entry.output for entry in sized.entries()]
    for _ in range(300):
        (tmp_path / "m.parquet").write_bytes(mutated(whole, rng))
        with suppress(UsageError):
            assert [entry.output for entry in ManifestTable(str(tmp_path / "m.parquet")).entries()] == lines
