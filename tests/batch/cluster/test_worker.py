"""Whoever restores which shard of a manifest, each image has one output and one result that counts."""

import hashlib
import threading
from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.albums import run as run_batch
from tests.helpers.albums import tree
from tests.helpers.manifests import fill, manifest_of, outputs, png, recorded, request_of
from tests.helpers.networks import random_weights
from tests.helpers.scenes import scene

from msrn import images
from msrn.batch.cluster import Computing, ManifestTable, Shard, place_at, restore_shard, sum_up
from msrn.batch.cluster.worker import FOUND
from msrn.errors import MSRNError, OutputError, UsageError
from msrn.images.picture import Picture
from msrn.network.config import MSRNConfig
from msrn.network.weights import save

CPU = Computing(device="cpu")


def restored(manifest, output, shard=None, **options) -> list[int]:
    """Restore a shard, and return the rows that were worked on."""
    rows = []
    restore_shard(manifest, output, shard, CPU, done=lambda entry, result, outcome: rows.append(entry.row), **options)
    return rows


def test_shards_in_any_order_make_what_one_batch_makes(where, identity, tmp_path):
    manifest = manifest_of(fill(where("in"), 20), where("m.parquet"), identity)
    rows = [restored(manifest, where("out"), Shard(index, 3)) for index in (2, 0, 1)]
    assert sorted(row for each in rows for row in each) == list(range(20))
    made = outputs(where("out"))
    single = fill(str(tmp_path / "same"), 20)
    run_batch(place_at(single).folder, tmp_path / "whole", request_of(identity).restorer("cpu"))
    assert made == tree(tmp_path / "whole")
    records = {row["row"]: row for row in recorded(where("out"))}
    assert [records[number]["sha256"] for number in range(20)] == [
        hashlib.sha256(made[entry.output]).hexdigest() for entry in manifest.entries()
    ]
    assert all(row["status"] == "done" and row["seconds"] > 0 and row["note"] for row in records.values())
    assert restored(manifest, where("out")) == []


def test_of_two_that_have_a_shard_at_once_the_first_output_counts(where, identity):
    manifest = manifest_of(fill(where("in"), 12), where("m.parquet"), identity)
    together = [threading.Thread(target=restored, args=(ManifestTable(manifest.where), where("out"))) for _ in "ab"]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    made = outputs(where("out"))
    records = recorded(where("out"))
    assert {row["row"] for row in records} == set(range(12))
    for row in records:
        assert row["sha256"] == hashlib.sha256(made[row["output"]]).hexdigest()
    said = sum_up(manifest, place_at(where("out")))
    assert (said.done, said.failed, said.pending) == (12, 0, 0)


def test_outputs_that_nobody_recorded_are_found_and_not_made_again(where, identity):
    manifest = manifest_of(fill(where("in"), 4), where("m.parquet"), identity)
    restored(manifest, where("out"), Shard(0, 4))
    place_at(where("out")).create("1/1.png", b"made by one that was killed at once")
    rows = restored(manifest, where("out"))
    assert len(rows) == 3
    (found,) = [row for row in recorded(where("out")) if row["seconds"] is None]
    assert (found["output"], found["note"], found["status"]) == ("1/1.png", FOUND, "done")
    assert found["sha256"] == hashlib.sha256(b"made by one that was killed at once").hexdigest()


def test_an_image_that_fails_is_a_row_and_is_tried_again(where, identity, tmp_path):
    place = place_at(fill(where("in"), 3))
    place.create("bad.png", b"no image")
    place.create("changed.png", png(9))
    manifest = manifest_of(where("in"), where("m.parquet"), identity)
    (tmp_path / "changed.png").write_bytes(b"longer" * 999)
    place.put("changed.png", tmp_path / "changed.png")
    assert len(restored(manifest, where("out"))) == 5
    said = sum_up(manifest, place_at(where("out")), where("table.parquet"))
    assert (said.images, said.done, said.failed, said.pending) == (5, 3, 2, 0)
    assert said.errors == {"UnknownFormatError": 1, "ImageError": 1}
    assert "bytes when the manifest was made" in said.examples["ImageError"]
    place.put("changed.png", _file(tmp_path / "good.png", png(9)))
    ids = [entry.id for entry in manifest.entries()]
    assert {ids[row] for row in restored(manifest, where("out"))} == {"bad.png", "changed.png"}
    assert sum_up(manifest, place_at(where("out"))).done == 4
    with pytest.raises(OutputError, match="exists"):
        sum_up(manifest, place_at(where("out")), where("table.parquet"))
    with pytest.raises(MSRNError, match="bad"):
        restored(manifest, where("out"), fail_fast=True)


def test_a_raster_in_a_manifest_fails_and_does_not_lose_its_coordinates(identity, tmp_path):
    pytest.importorskip("rasterio")
    scene(tmp_path / "in" / "scene.tif")
    images.write(Picture.from_array(np.zeros((8, 9, 3), np.uint8)), tmp_path / "in" / "plain.tif")
    manifest = manifest_of(str(tmp_path / "in"), str(tmp_path / "m.parquet"), identity)
    restored(manifest, str(tmp_path / "out"))
    assert list(outputs(str(tmp_path / "out"))) == ["plain.tif"]
    (failed,) = (row["error"] for row in recorded(str(tmp_path / "out")) if row["status"] == "failed")
    assert "scene.tif is a raster" in failed


def test_the_table_has_one_row_for_every_image(where, identity):
    parquet = pytest.importorskip("pyarrow.parquet")
    place_at(fill(where("in"), 9)).create("bad.png", b"no image")
    manifest = manifest_of(where("in"), where("m.parquet"), identity)
    restored(manifest, where("out"), Shard(0, 2))
    restored(manifest, where("out"), Shard(0, 2))
    sum_up(manifest, place_at(where("out")), where("table.parquet"))
    rows = parquet.read_table(place_at(where("")).open("table.parquet")).to_pylist()
    assert [row["id"] for row in rows] == [entry.id for entry in manifest.entries()]
    assert {row["status"] for row in rows} >= {"done", "pending"}
    assert all((row["sha256"] is None) == (row["status"] != "done") for row in rows)
    assert [row["sha256"] for row in rows] == [
        hashlib.sha256(outputs(where("out"))[row["output"]]).hexdigest() if row["status"] == "done" else None
        for row in rows
    ]


def test_a_place_belongs_to_one_manifest(where, identity):
    manifest = manifest_of(fill(where("in"), 2), where("m.parquet"), identity)
    restored(manifest, where("out"))
    other = manifest_of(where("in"), where("m2.parquet"), identity, quality=50)
    with pytest.raises(OutputError, match="another manifest, of other weights or settings"):
        restored(other, where("out"))
    place_at(where("in")).create("new.png", png(7))
    more = manifest_of(where("in"), where("m3.parquet"), identity)
    with pytest.raises(OutputError, match="another manifest, of other images"):
        restored(more, where("out"))
    place_at(where("full")).create("holiday.png", b"")
    with pytest.raises(OutputError, match=r"holds holiday\.png"):
        restored(more, where("full"))


def test_other_weights_and_versions_are_refused(tmp_path, identity, monkeypatch):
    manifest = manifest_of(fill(str(tmp_path / "in"), 2), str(tmp_path / "m.parquet"), identity)
    trained = random_weights("jpeg", MSRNConfig(1, 1, 4))
    others = (str(save(trained, tmp_path, "jpeg")), *identity[1:])
    for request, why in (
        (replace(manifest.request, weights=others), "other weights"),
        (replace(manifest.request, computing={"backend": "eager", "precision": "fp32"}), "onnx fp32, which is not"),
        (replace(manifest.request, settings=replace(manifest.request.settings, version="0.0.1")), r"version 0\.0\.1"),
        (replace(manifest.request, settings=replace(manifest.request.settings, quality=5)), "other settings"),
    ):
        monkeypatch.setattr(manifest, "request", request)
        with pytest.raises(UsageError, match=why):
            restored(manifest, str(tmp_path / "out"))
    assert outputs(str(tmp_path / "out")) == {}


def test_a_stop_records_what_is_done(where, identity):
    manifest = manifest_of(fill(where("in"), 12), where("m.parquet"), identity)
    seen = []

    def stop(entry, result, outcome):
        seen.append(entry.row)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_shard(manifest, where("out"), None, CPU, done=stop)
    before = {row["row"] for row in recorded(where("out"))}
    assert before >= set(seen)
    assert not before & set(restored(manifest, where("out")))


def _file(path, data):
    path.write_bytes(data)
    return path
