"""Shards that overlap in time and are killed again and again leave every output once, and every result."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
from tests.helpers.manifests import fill, manifest_of, outputs, recorded

from msrn.batch.cluster import Computing, place_at, restore_shard, sum_up

IMAGES, KILLS = 30, 2
SHARDS = ["2/3", "0/3", "1/3"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_union_of_killed_shards_is_exactly_once(where, identity, tmp_path, request):
    manifest = manifest_of(fill(where("in"), IMAGES), where("m.parquet"), identity)
    command = [sys.executable, "-m", "tests.helpers.killed_shards", manifest.where, where("out"), str(KILLS), "0"]
    process = subprocess.run([*command, *SHARDS], capture_output=True, text=True, check=True)
    said = json.loads(process.stdout)
    assert said["failed"] == 0, process.stderr
    assert said["killed"] >= KILLS * 2  # one that is killed after its last image has nothing left

    restore_shard(manifest, str(tmp_path / "single"), None, Computing(device="cpu"))
    made = outputs(where("out"))
    assert made == outputs(str(tmp_path / "single"))
    assert sorted(made) == sorted(entry.output for entry in manifest.entries())
    said = sum_up(manifest, place_at(where("out")))
    assert (said.done, said.failed, said.pending) == (IMAGES, 0, 0)

    records = recorded(where("out"))
    assert all(row["sha256"] == hashlib.sha256(made[row["output"]]).hexdigest() for row in records)
    assert len(records) == IMAGES  # none was tried again that was recorded
    if "s3" in manifest.where:
        store = request.getfixturevalue("store")
        created = {name: number for name, number in store.created.items() if name.startswith("bucket/out/")}
        assert set(created.values()) == {1}
