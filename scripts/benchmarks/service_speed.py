"""How soon the service shows something, what it costs beside the engine, and what it keeps when nobody asks.

    python scripts/benchmarks/service_speed.py [first] [overhead] [idle] [--keep]

Other work on the machine lengthens all seconds, so what the processor spent is printed beside them. `--keep` stores the
figures for the documentation.

* first: seconds from a 12-megapixel photograph's decoding to its first restored pixels at 1:1, and to all of a window
  of 1280×800 pixels.
* overhead: one megapixel by the service (sending, decoding, restoring, encoding, receiving), against the engine alone
  and against all three steps without a service.
* idle: the memory of all processes after five minutes without work, or as many as `--minutes` says.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from service_process import keep, memory, photograph, spent, start

from msrn import images
from msrn.restoration.automatic import Automatic
from msrn.restoration.restorer import Restorer
from msrn.service.client import Client
from msrn.system.machine import cores, kind

ROUNDS = 5


def first(client: Client, pid: int, _: float) -> dict[str, Any]:
    """Time a job's events, as they come in."""
    client.restore(photograph("coffee", 320, 240))  # so that the worker is there, as it is once the page is open
    data = photograph("coffee", 4000, 3000)
    rounds: dict[str, list[tuple[float, float]]] = {"found": [], "preview": [], "window": []}
    for number in range(ROUNDS):
        job = client.begin(data + bytes([number]), view="0.5,0.5,1280x800")
        at: dict[str, tuple[float, float]] = {}
        for event in job.events():
            now = (time.monotonic(), spent(pid))
            at.setdefault(event.name, now)
            if event.name == "preview":
                at["window"] = now
            if event.name == "tile":
                break
        job.cancel()
        for name, passed in rounds.items():
            passed.append((at[name][0] - at["decoded"][0], at[name][1] - at["decoded"][1]))
    return {name: medians(passed) for name, passed in rounds.items()}


def overhead(client: Client, pid: int, _: float) -> dict[str, Any]:
    """Time the service and the engine in turns, each by the seconds that cores spent on it."""
    data, path = photograph("coffee", 1000, 1000), Path("photograph.jpg")
    restorer = Automatic(lambda task: Restorer(task, precision="fp32"), ("jpeg", "denoise", "photo"))
    picture = images.decode(data, path)
    restorer(picture)
    client.restore(data)
    taken: dict[str, list[tuple[float, float]]] = {"engine": [], "with files": [], "service": []}
    for number in range(ROUNDS):
        begun, cpu = time.monotonic(), time.process_time()
        decoded = images.decode(data, path)
        decoded_at, decoded_cpu = time.monotonic(), time.process_time()
        restored = restorer(decoded)
        taken["engine"].append((time.monotonic() - decoded_at, time.process_time() - decoded_cpu))
        images.prepare(restored, Path("out.png"))(BytesIO())
        taken["with files"].append((time.monotonic() - begun, time.process_time() - cpu))
        begun, cpu = time.monotonic(), spent(pid)
        client.restore(data + bytes([number]))
        taken["service"].append((time.monotonic() - begun, spent(pid) - cpu))
    return {name: medians(passed) for name, passed in taken.items()}


def idle(client: Client, pid: int, minutes: float) -> dict[str, Any]:
    """Look at the memory while it works, and minutes later."""
    client.restore(photograph("coffee", 1000, 1000) + b"x")
    after = memory(pid)
    time.sleep(60 * minutes)
    return {"minutes": minutes, "after one megapixel, MB": after, "idle, MB": memory(pid)}


def medians(passed: list[tuple[float, float]]) -> dict[str, float]:
    """Of seconds that passed, and of those that cores spent."""
    seconds, cores_spent = (statistics.median(column) for column in zip(*passed, strict=True))
    return {"seconds": seconds, "of cores": cores_spent}


def main() -> None:
    """Run what is asked for, or everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measures = {"first": first, "overhead": overhead, "idle": idle}
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(measures) + "; by default all")
    parser.add_argument("--minutes", type=float, default=5, help="without work")
    parser.add_argument("--keep", action="store_true", help="store the figures for the documentation")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        process, port = start(Path(folder) / "cache")
        client = Client(f"http://127.0.0.1:{port}")
        try:
            for name in asked.measures or measures:
                figures = measures[name](client, process.pid, asked.minutes)
                figures |= {"kind": kind(), "cores": cores(), "load": os.getloadavg()[0]}
                print(name, json.dumps(figures, indent=1))
                if asked.keep:
                    keep(name, figures)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
