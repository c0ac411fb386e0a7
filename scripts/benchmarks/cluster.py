"""A Ray cluster on this machine: what it survives, how it scales, and what it costs beside ``msrn restore``.

    python -m scripts.benchmarks.cluster survive [--images 500]
    python -m scripts.benchmarks.cluster speed [--images 48] [--side 512] [--rounds 5]

``survive``: two nodes of one core; the driver is killed, then a node removed without warning. Afterwards every id must
have one output, equal to what a single process makes, and nothing recorded may have been computed twice.

``speed``: one actor of one core, two of them, and ``msrn restore -j 2`` on two cores, in turns, with medians over the
rounds; and one program without Ray on one core, and two on a core each, as they say what a second core is worth on this
machine. The speed is that from when all have begun to the last image; the seconds of the start are printed apart. For
each kind of process follow the seconds of the processor that it took meanwhile, for each megapixel.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from scripts.benchmarks.processes import Meter
from tests.helpers.manifests import outputs, png, recorded
from tests.helpers.ray_cluster import driver, on_cores, ray_cluster

from msrn import images
from msrn.batch.cluster import Computing, ManifestTable, Request, make_manifest, place_at, restore_shard, sum_up
from msrn.images.picture import Picture
from msrn.images.resize import resize

KINDS = {"msrn.images.isolated": "decoders", "MapBatches": "actors", "-m msrn": "programs"}
"""Kinds of processes, by their command lines; others are Ray's own."""


def main() -> None:
    """Do what the command line says, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["survive", "speed"])
    parser.add_argument("--images", type=int)
    parser.add_argument("--side", type=int, default=512, help="of each image, in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "survive":
            survive(Path(folder), given.images or 500)
        else:
            speed(Path(folder), given.images or 48, given.side, given.rounds)


def listed(folder: Path) -> ManifestTable:
    """A manifest of the images in a folder, restored by the package's weights."""
    request = Request()
    request = request.settled(request.restorer())
    make_manifest(str(folder / "in"), str(folder / "m.parquet"), request)
    return ManifestTable(str(folder / "m.parquet"))


def survive(folder: Path, count: int) -> None:
    """Lose a driver and a node, and compare."""
    place = place_at(folder / "in")
    for number in range(count):
        place.create(f"{number % 7}/{number}.png", png(number, 48))
    manifest, out = listed(folder), str(folder / "out")
    command = [sys.executable, "-m", "tests.helpers.ray_cluster", manifest.where, out]
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
    print(f"killed the driver at {said['at_kill']} outputs, {len(said['recorded'])} of them recorded")
    print(f"removed a node at {said['at_loss']} outputs; the driver ended with {said['code']}: {said['said']}")
    restore_shard(manifest, str(folder / "single"), None, Computing(device="cpu"))
    made, records, found = outputs(out), recorded(out), sum_up(manifest, place_at(out))
    timed = [row["row"] for row in records if row["seconds"] is not None]
    after = [row["row"] for row in records]
    checks = {
        "every id is done": (found.done, found.failed, found.pending) == (count, 0, 0),
        "one output for each id": sorted(made) == sorted(entry.output for entry in manifest.entries()),
        "outputs equal a single process's": made == outputs(str(folder / "single")),
        "hashes are those of the outputs": all(
            row["sha256"] == hashlib.sha256(made[row["output"]]).hexdigest() for row in records
        ),
        "none computed twice that was recorded": len(timed) == len(set(timed)),
        "none looked at again that was recorded": all(after.count(row) == 1 for row in said["recorded"]),
    }
    for check, holds in checks.items():
        print(f"{'yes' if holds else 'NO '} {check}")
    if not all(checks.values()):
        raise SystemExit(1)


def speed(folder: Path, count: int, side: int, rounds: int) -> None:
    """Time all ways in turns, and say where the processor's time went."""
    rng = np.random.default_rng(0)
    for number in range(count):
        smooth = resize(rng.random((3, side // 8, side // 8), np.float32), 8).clip(0, 1)
        images.write(Picture(smooth), folder / "in" / f"{number}.jpg", quality=60)
    manifest = listed(folder)
    found: dict[str, list[Working]] = defaultdict(list)
    starts: dict[str, list[float]] = defaultdict(list)
    ways: dict[str, Callable[[str], None]] = {
        "one program": lambda out: side_by_side(manifest.where, out, "0/1"),
        "two programs": lambda out: side_by_side(manifest.where, out, "0/2", "1/2"),
        "one actor": lambda out: by_actors(manifest.where, out, 1),
        "two actors": lambda out: by_actors(manifest.where, out, 2),
        "msrn restore -j 2": lambda out: ended(driver(manifest.where, out, "-j", "2")),
    }
    with Meter(KINDS) as meter:
        for number in range(rounds):
            for name, way in ways.items():
                out, began = str(folder / f"{name}-{number}"), time.time()
                way(out)
                found[name].append(working(out))
                starts[name].append(found[name][-1].first - began)
        for name, runs in found.items():
            pixels = sum(run.images for run in runs) * side * side / 1e6
            taken = Counter[str]()
            for run in runs:
                taken.update(meter.seconds(run.begun, run.ended))
            spent = ", ".join(f"{kind} {seconds / pixels:.3f}" for kind, seconds in taken.most_common())
            speed = f"{median(run.rate for run in runs) * side * side / 1e6:6.2f} MP/s"
            print(f"{name:18} {speed}, start {median(starts[name]):4.1f} s; the processor's s/MP: {spent}")

    def ratio(name: str, other: str) -> float:
        return median(mine.rate / its.rate for mine, its in zip(found[name], found[other], strict=True))

    print(f"two actors are {ratio('two actors', 'one actor'):.2f} × one", end="; ")
    print(f"two programs without Ray, each on a core of its own, {ratio('two programs', 'one program'):.2f} × one")
    print(f"two actors take {ratio('msrn restore -j 2', 'two actors') - 1:+.1%} of msrn restore -j 2's time")


def side_by_side(manifest: str, output: str, *shards: str) -> None:
    """Restore shards at once without Ray, each on a core of its own."""
    running = list[subprocess.Popen[str]]()
    for core, shard in enumerate(shards):
        with on_cores(core, 1):
            running.append(driver(manifest, output, "--shard", shard))
    for process in running:
        ended(process)


def by_actors(manifest: str, output: str, count: int) -> None:
    """Restore a manifest by actors of one core, on a node that has as many cores as there are actors."""
    with ray_cluster(1, count) as (cluster, _):
        ended(driver(manifest, output, "--cluster", cluster.address, "--cores", "1"))


def ended(process: "subprocess.Popen[str]") -> None:
    """Wait for a program."""
    _, messages = process.communicate()
    if process.returncode:
        raise SystemExit(messages)


@dataclass(frozen=True)
class Working:
    """When a run's workers were at work."""

    first: float
    """When the first one began."""
    begun: float
    """When all had."""
    ended: float
    images: int
    """That were finished while all were at work."""

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / (self.ended - self.begun)


def working(output: str) -> Working:
    """When the workers of a run were at work, by their records."""
    rows, begun = recorded(output), dict[str, float]()
    for row in rows:
        moment = row["finished"].timestamp() - row["seconds"]
        begun[row["worker"]] = min(moment, begun.get(row["worker"], moment))
    all_begun, ends = max(begun.values()), [row["finished"].timestamp() for row in rows]
    return Working(min(begun.values()), all_begun, max(ends), sum(end > all_begun for end in ends))


if __name__ == "__main__":
    main()
