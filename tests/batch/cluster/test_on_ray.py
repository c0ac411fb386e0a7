"""A Ray cluster restores a manifest exactly once, whatever is lost."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
from tests.helpers.manifests import manifest_of, outputs, png, recorded

from msrn.batch.cluster import Computing, on_ray, place_at, restore_on_ray, restore_shard, sum_up
from msrn.errors import UsageError

IMAGES = 40
needs_cores = pytest.mark.skipif(
    sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="needs two cores, and Linux"
)


@pytest.fixture(scope="module")
def survived(tmp_path_factory, identity):
    """A manifest of which a cluster lost a driver and a node, its folder, and what the helper said."""
    pytest.importorskip("ray")
    folder = tmp_path_factory.mktemp("ray")
    place = place_at(folder / "in")
    for number in range(IMAGES):
        place.create(f"{number % 3}/{number}.png", png(number, 100))
    place.create("bad.png", b"no image")
    manifest = manifest_of(str(folder / "in"), str(folder / "m.parquet"), identity)
    command = [sys.executable, "-m", "tests.helpers.ray_cluster", manifest.where, str(folder / "out")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return manifest, folder, json.loads(process.stdout.splitlines()[-1])


def test_a_lost_driver_and_a_lost_node_leave_every_output_once(survived):
    manifest, folder, said = survived
    assert (said["killed"], said["code"]) == (-9, 3), said["messages"]  # 3: one image is none
    assert 0 < len(said["recorded"]) <= said["at_kill"] < IMAGES
    assert said["at_loss"] < IMAGES
    restore_shard(manifest, str(folder / "single"), None, Computing(device="cpu"))
    made = outputs(str(folder / "out"))
    assert made == outputs(str(folder / "single"))
    records = recorded(str(folder / "out"))
    for row in records:
        assert row["status"] == "failed" or row["sha256"] == hashlib.sha256(made[row["output"]]).hexdigest()
    timed = [row["row"] for row in records if row["seconds"] is not None]
    assert len(timed) == len(set(timed))  # none was computed again that was recorded


def test_a_row_that_fails_is_a_row(survived):
    manifest, folder, said = survived
    found = sum_up(manifest, place_at(folder / "out"))
    assert (found.done, found.failed, found.pending) == (IMAGES, 1, 0)
    assert found.errors == {"UnknownFormatError": 1}
    assert said["said"]["failed"] == 1
    assert "bad.png is not an image" in said["messages"]


def test_what_was_recorded_is_not_looked_at_again(survived):
    _, folder, said = survived
    counts = [row["row"] for row in recorded(str(folder / "out"))]
    assert all(counts.count(row) == 1 for row in said["recorded"])
    assert said["said"]["restored"] + said["said"]["found made"] == IMAGES - len(said["recorded"])


ACTOR = f"""
import os
import ray
from msrn.batch.cluster.on_ray import _Actor
from msrn.system import own_cores

class Here:
    get_node_id = staticmethod(lambda: "here")

own_cores._NAME = "test-{os.getpid()}"
os.sched_setaffinity(0, range(os.cpu_count()))
ray.get, ray.get_runtime_context = (lambda given: given), (lambda: Here)
for cores in (os.cpu_count() - 1.0, os.cpu_count()):
    node = {{"NodeID": "here", "Resources": {{"CPU": float(cores)}}}}
    ray.nodes = lambda: [{{"NodeID": "there", "Resources": {{"CPU": 1.0}}}}, node]
    _Actor("no manifest", "out", None, 1, False, 1, [None])
    print(len(os.sched_getaffinity(0)), os.environ["MSRN_CORES"])
"""


@needs_cores
def test_an_actor_is_bound_where_its_node_has_the_whole_machine(tmp_path):
    pytest.importorskip("ray")
    said = subprocess.run([sys.executable, "-c", ACTOR], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert said.stdout.split() == [str(os.cpu_count()), "1", "1", "1"]


@needs_cores
def test_actors_of_a_node_and_their_decoders_share_no_core(identity, tmp_path):
    pytest.importorskip("ray")
    for number in range(60):
        place_at(tmp_path / "in").create(f"{number}.png", png(number, 100))
    manifest = manifest_of(str(tmp_path / "in"), str(tmp_path / "m.parquet"), identity)
    command = [sys.executable, "-m", "tests.helpers.ray_cores", manifest.where, str(tmp_path / "out")]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    assert sorted(actor for actor, _ in found) == [[[0]], [[1]]]  # every thread of each
    for actor, decoders in found:
        assert decoders == [actor] * len(decoders)
        assert decoders


@pytest.mark.parametrize(
    ("nodes", "device", "cores", "count", "each", "gpus"),
    [
        ([{"CPU": 2.0}, {"CPU": 9.0}], "auto", 0, 5, 2, 0),  # two cores each, as the smaller node has no more
        ([{"CPU": 16.0}, {"CPU": 16.0}], "auto", 0, 8, 4, 0),
        ([{"CPU": 16.0}, {"CPU": 3.0}], "cpu", 5, 3, 5, 0),
        ([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 64.0}], "auto", 0, 2, 4, 1),  # one for each GPU
        ([{"CPU": 4.0, "GPU": 8.0}], "cuda", 0, 4, 1, 1),
        ([{"CPU": 16.0, "GPU": 2.0}], "cpu", 0, 4, 4, 0),
        ([{"memory": 1.0}], "auto", 2, 1, 2, 0),  # a head without cores, whose cluster grows
    ],
)
def test_the_nodes_say_how_many_actors_there_are(nodes, device, cores, count, each, gpus, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    room = on_ray._room(device, cores)
    assert (room.count, room.cores, room.gpus) == (count, each, gpus)


def test_actors_that_fit_no_node_are_refused(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    with pytest.raises(UsageError, match=r"no node of the cluster has 3 cores \(--cores\); the largest has 2"):
        on_ray._room("auto", 3)


def test_a_cluster_that_is_not_there_is_told(identity, tmp_path):
    pytest.importorskip("ray")
    place_at(tmp_path / "in").create("a.png", png(0))
    manifest = manifest_of(str(tmp_path / "in"), str(tmp_path / "m.parquet"), identity)
    with pytest.raises(UsageError, match=r"no Ray cluster at 127\.0\.0\.1:1 .*refused"):
        restore_on_ray(manifest, str(tmp_path / "out"), "127.0.0.1:1")
