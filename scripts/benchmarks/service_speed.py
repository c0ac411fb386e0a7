"""How soon the service shows something, what it costs beside the engine, and what it keeps when nobody asks.

    python scripts/benchmarks/service_speed.py [first] [overhead] [idle]

Other work on the machine lengthens all seconds, so what the processor spent is printed beside them.

* first: seconds from a 12-megapixel photograph's decoding to its first restored pixels at 1:1, and to all of a window
  of 1280×800 pixels.
* overhead: one megapixel by the service (sending, decoding, restoring, encoding, receiving), against the engine alone
  and against all three steps without a service.
* idle: the memory of all processes after five minutes without work.
"""

import statistics
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

from service_process import memory, photograph, spent, start

from msrn import images
from msrn.restoration.automatic import Automatic
from msrn.restoration.restorer import Restorer
from msrn.service.client import Client

ROUNDS = 5


def first(client: Client, pid: int) -> None:
    """Time a job's events, as they come in."""
    client.restore(photograph("coffee", 320, 240))  # so that the worker is there, as it is once the page is open
    data = photograph("coffee", 4000, 3000)
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
        passed = [
            f"{what} {at[name][0] - at['decoded'][0]:.2f} s (cores {at[name][1] - at['decoded'][1]:.2f} s)"
            for what, name in (("diagnosed", "found"), ("first pixels", "preview"), ("window", "window"))
        ]
        print("12 megapixels, after decoding: " + ", ".join(passed))


def overhead(client: Client, pid: int) -> None:
    """Time the service and the engine in turns, each by the seconds that cores spent on it."""
    data, path = photograph("coffee", 1000, 1000), Path("photograph.jpg")
    restorer = Automatic(lambda task: Restorer(task, precision="fp32"), ("jpeg", "denoise", "photo"))
    picture = images.decode(data, path)
    restorer(picture)
    client.restore(data)
    names = ("engine", "engine, decoding, encoding", "service")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(ROUNDS):
        begun, cpu = time.monotonic(), time.process_time()
        decoded = images.decode(data, path)
        decoded_at, decoded_cpu = time.monotonic(), time.process_time()
        restored = restorer(decoded)
        taken["engine"].append((time.monotonic() - decoded_at, time.process_time() - decoded_cpu))
        images.prepare(restored, Path("out.png"))(BytesIO())
        taken["engine, decoding, encoding"].append((time.monotonic() - begun, time.process_time() - cpu))
        begun, cpu = time.monotonic(), spent(pid)
        client.restore(data + bytes([number]))
        taken["service"].append((time.monotonic() - begun, spent(pid) - cpu))
    engine = [statistics.median(column) for column in zip(*taken["engine"], strict=True)]
    for name, pairs in taken.items():
        wall, cores = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"one megapixel, {name}: {wall:.2f} s ({100 * (wall / engine[0] - 1):+.0f} %), "
            f"cores {cores:.2f} s ({100 * (cores / engine[1] - 1):+.0f} %)"
        )


def idle(client: Client, pid: int) -> None:
    """Look at the memory while it works, and five minutes later."""
    client.restore(photograph("coffee", 1000, 1000) + b"x")
    print(f"memory after one megapixel: {memory(pid):.0f} MiB")
    time.sleep(300)
    print(f"memory after five idle minutes: {memory(pid):.0f} MiB")


def main() -> None:
    """Run what is asked for, or everything."""
    asked = sys.argv[1:] or ["first", "overhead", "idle"]
    with tempfile.TemporaryDirectory() as folder:
        process, port = start(Path(folder) / "cache")
        client = Client(f"http://127.0.0.1:{port}")
        try:
            for name in asked:
                {"first": first, "overhead": overhead, "idle": idle}[name](client, process.pid)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
