"""A Ray cluster on this machine: what it survives, how it scales, and what it costs beside ``msrn restore``.

    python -m scripts.benchmarks.cluster survive [--images 500]
    python -m scripts.benchmarks.cluster speed [--images 48] [--side 512] [--rounds 5]

``survive``: two nodes of one core; the driver is killed, then a node removed without warning. Afterwards every id must
have one output, equal to what a single process makes, and nothing recorded may have been computed twice.

``speed``: one actor of one core, two of them, and ``msrn restore -j 2`` on two cores, in turns, with medians over the
rounds. The speed is that from when all actors have begun to the last image; the seconds of the start are printed apart.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from tests.helpers.manifests import outputs, png, recorded
from tests.helpers.ray_cluster import driver, ray_cluster

from msrn import images
from msrn.batch.cluster import Computing, ManifestTable, Request, make_manifest, place_at, restore_shard, sum_up
from msrn.images.picture import Picture
from msrn.images.resize import resize


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
    """Time the three in turns."""
    rng = np.random.default_rng(0)
    for number in range(count):
        smooth = resize(rng.random((3, side // 8, side // 8), np.float32), 8).clip(0, 1)
        images.write(Picture(smooth), folder / "in" / f"{number}.jpg", quality=60)
    manifest = listed(folder)
    rates: dict[str, list[float]] = {"one actor": [], "two actors": [], "msrn restore -j 2": []}
    starts: dict[str, list[float]] = {name: [] for name in rates}
    with ray_cluster(1, 1) as (one, _), ray_cluster(1, 2) as (two, _):
        ways = {"one actor": one.address, "two actors": two.address, "msrn restore -j 2": ""}
        for number in range(rounds):
            for name, address in ways.items():
                out = str(folder / f"{name}-{number}")
                began = time.time()
                process = driver(manifest.where, out, address, *(["--cores", "1"] if address else ["-j", "2"]))
                _, messages = process.communicate()
                if process.returncode:
                    raise SystemExit(messages)
                rate, first = working(out)
                rates[name].append(rate)
                starts[name].append(first - began)
    for name, found in rates.items():
        print(f"{name:18} {median(found) * side * side / 1e6:6.2f} MP/s, start {median(starts[name]):.1f} s")
    gains = [two / one for one, two in zip(rates["one actor"], rates["two actors"], strict=True)]
    costs = [alone / two - 1 for two, alone in zip(rates["two actors"], rates["msrn restore -j 2"], strict=True)]
    print(f"two actors are {median(gains):.2f} × one; they take {median(costs):+.1%} of msrn restore -j 2's time")


def working(output: str) -> tuple[float, float]:
    """Images per second from when all workers have begun, and when the first one had."""
    rows, begun = recorded(output), dict[str, float]()
    for row in rows:
        moment = row["finished"].timestamp() - row["seconds"]
        begun[row["worker"]] = min(moment, begun.get(row["worker"], moment))
    all_begun, ends = max(begun.values()), [row["finished"].timestamp() for row in rows]
    return sum(end > all_begun for end in ends) / (max(ends) - all_begun), min(begun.values())


if __name__ == "__main__":
    main()
