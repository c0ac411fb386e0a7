"""How soon the service shows something, what it costs beside the engine, and what it keeps when nobody asks.

    python scripts/benchmarks/service_speed.py [first] [overhead] [idle]

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

from PIL import Image
from service_load import ROOT, memory, start

from msrn import images
from msrn.restoration.automatic import Automatic
from msrn.restoration.restorer import Restorer
from msrn.service.client import Client

ROUNDS = 5


def photograph(width: int, height: int) -> bytes:
    """A JPEG file of a size, from a photograph of the demonstration."""
    with Image.open(ROOT / "demo" / "photographs" / "coffee.png") as image:
        buffer = BytesIO()
        image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=60)
        return buffer.getvalue()


def first(client: Client) -> None:
    """Time a job's events, as they come in."""
    client.restore(photograph(320, 240))  # so that the worker is there, as it is once the page is open
    data = photograph(4000, 3000)
    for number in range(ROUNDS):
        job = client.begin(data + bytes([number]), view="0.5,0.5,1280x800")
        at: dict[str, float] = {}
        for event in job.events():
            at.setdefault(event.name, time.monotonic())
            if event.name == "preview":
                at["window"] = time.monotonic()
            if event.name == "tile":
                break
        job.cancel()
        passed = {name: at[name] - at["decoded"] for name in ("found", "preview", "window")}
        print(
            f"12 megapixels, after decoding: diagnosed {passed['found']:.2f} s, "
            f"first pixels {passed['preview']:.2f} s, the window {passed['window']:.2f} s"
        )


def overhead(client: Client) -> None:
    """Time the service and the engine in turns."""
    data, path = photograph(1000, 1000), Path("photograph.jpg")
    restorer = Automatic(lambda task: Restorer(task, precision="fp32"), enlarging=False)
    picture = images.decode(data, path)
    restorer(picture)
    client.restore(data)
    times: dict[str, list[float]] = {"engine": [], "engine, decoding, encoding": [], "service": []}
    for number in range(ROUNDS):
        begun = time.monotonic()
        decoded = images.decode(data, path)
        decoded_at = time.monotonic()
        restored = restorer(decoded)
        restored_at = time.monotonic()
        images.prepare(restored, Path("out.png"))(BytesIO())
        times["engine"].append(restored_at - decoded_at)
        times["engine, decoding, encoding"].append(time.monotonic() - begun)
        begun = time.monotonic()
        client.restore(data + bytes([number]))
        times["service"].append(time.monotonic() - begun)
    medians = {name: statistics.median(each) for name, each in times.items()}
    for name, seconds in medians.items():
        print(f"one megapixel, {name}: {seconds:.3f} s ({100 * (seconds / medians['engine'] - 1):+.1f} %)")


def idle(client: Client, pid: int) -> None:
    """Look at the memory while it works, and five minutes later."""
    client.restore(photograph(1000, 1000) + b"x")
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
                if name == "idle":
                    idle(client, process.pid)
                else:
                    {"first": first, "overhead": overhead}[name](client)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
