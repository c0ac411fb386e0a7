"""The service under load: many clients, good, bad, slow and aborted requests, at a multiple of what it can do.

    python scripts/benchmarks/service_load.py                      # 64 clients, 3 minutes, twice the capacity
    python scripts/benchmarks/service_load.py --minutes 30 --load 1     # the soak

First one client alone measures the capacity, and at half of it the latency. Then each client sends at its own pace;
together they ask for `--load` times the capacity. Every answer must be one that is documented, every 200 byte for byte
what the command writes, and the memory of all processes must not grow.
"""

import argparse
import http.client
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
DOCUMENTED = {200, 408, 413, 415, 422, 429, 503, 504}
KINDS = {"good": 70, "text": 6, "damaged": 6, "large": 6, "slow": 6, "aborted": 6}
"""What clients send, in shares of 100."""
MAX_BYTES = 4 << 20


def start(cache: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    """A service of its own; its process and port."""
    command = [sys.executable, "-m", "msrn.cli", "serve", "--port", "0", "--cache", str(cache)]
    command += ["--max-bytes", str(MAX_BYTES), "--precision", "fp32", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    return process, int(line.split("/, its API")[0].rpartition(":")[2])


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for each in found:
        children = Path(f"/proc/{each}/task/{each}/children")
        found += [int(child) for child in children.read_text().split()] if children.exists() else []
    return found


def memory(pid: int) -> float:
    """MiB that a process and its descendants hold, shared pages counted once (PSS)."""
    total = 0
    for each in family(pid):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def photographs() -> list[bytes]:
    """Three JPEG files of 0.03 to 0.1 megapixels, each compressed enough to need restoring."""
    made: list[bytes] = []
    for name, side in (("chelsea", 160), ("coffee", 240), ("astronaut", 320)):
        with Image.open(ROOT / "demo" / "photographs" / f"{name}.png") as image:
            buffer = BytesIO()
            image.convert("RGB").resize((side, side)).save(buffer, "JPEG", quality=30)
            made.append(buffer.getvalue())
    return made


def by_command(data: bytes) -> bytes:
    """What the command writes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.jpg").write_bytes(data)
        words = ["restore", "in.jpg", "-o", "out.png", "-q", "--precision", "fp32"]
        subprocess.run([sys.executable, "-m", "msrn.cli", *words], cwd=folder, check=True)
        return (Path(folder) / "out.png").read_bytes()


class Clients:
    """Clients of one service, and what became of their requests."""

    def __init__(self, port: int, pictures: list[bytes], expected: list[bytes]) -> None:
        self.port, self.pictures, self.expected = port, pictures, expected
        self.statuses: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.seconds: list[float] = []
        self.lock = threading.Lock()

    def send(self, kind: str, source: str = "127.0.0.1") -> None:
        """One request of a kind, and its answer's check."""
        number = random.randrange(len(self.pictures))
        data = self.pictures[number] + os.urandom(
            16
        )  # other bytes, the same picture: nothing is answered from the cache
        if kind == "text":
            data = b"no picture at all" * 9
        elif kind == "damaged":
            data = self.pictures[number][: len(self.pictures[number]) // 2]
        elif kind == "large":
            data = bytes(MAX_BYTES + 1)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=150, source_address=(source, 0))
        started = time.monotonic()
        try:
            connection.putrequest("POST", "/v1/restore")
            connection.putheader("Content-Type", "image/jpeg")
            connection.putheader("Content-Length", str(len(data)))
            connection.endheaders()
            if kind == "slow":
                connection.send(data[:100])  # and no more
            elif kind == "aborted":
                connection.send(data)
                time.sleep(random.random() / 2)
                self.note("aborted", "gone", "")
                return
            else:
                connection.send(data)
            answer = connection.getresponse()
            body = answer.read()
        except OSError as error:
            self.note(kind, f"{type(error).__name__}", f"{kind}: {error}")
            return
        finally:
            connection.close()
        wrong = "" if answer.status in DOCUMENTED else f"{kind}: {answer.status}"
        if answer.status == 200 and (kind != "good" or body != self.expected[number]):
            wrong = f"{kind}: another result than the command's"
        if answer.status == 429 and not answer.getheader("Retry-After"):
            wrong = "429 without Retry-After"
        self.note(kind, str(answer.status), wrong)
        if kind == "good" and answer.status == 200:
            with self.lock:
                self.seconds.append(time.monotonic() - started)

    def note(self, kind: str, status: str, wrong: str) -> None:
        """Count an answer."""
        with self.lock:
            self.statuses[f"{kind} {status}"] += 1
            if wrong:
                self.wrong.append(wrong)

    def keep_sending(self, number: int, interval: float, end: float) -> None:
        """One client: a request each interval, or as soon as the last is answered."""
        chance, due = random.Random(number), time.monotonic() + random.Random(number).random() * interval
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            self.send(chance.choices(list(KINDS), list(KINDS.values()))[0], f"127.0.0.{2 + number}")
            due = max(due + interval, time.monotonic())


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Measure, print, and end with 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--load", type=float, default=2, help="multiple of the capacity to ask for")
    parser.add_argument("--half", type=float, default=60, help="seconds at half the capacity")
    asked = parser.parse_args()
    pictures = photographs()
    expected = [by_command(data) for data in pictures]
    with tempfile.TemporaryDirectory() as folder:
        process, port = start(Path(folder) / "cache", "--cache-bytes", str(64 << 20))
        try:
            failed = measure(asked, process, Clients(port, pictures, expected))
        finally:
            process.terminate()
            process.wait()
    sys.exit(1 if failed else 0)


def measure(asked: argparse.Namespace, process: subprocess.Popen[str], clients: Clients) -> bool:
    """One client alone, then at half the capacity, then all of them."""
    for _ in range(6):
        clients.send("good")
    clients.seconds.clear()
    for _ in range(20):
        clients.send("good")
    lone, slowest = statistics.mean(clients.seconds), percentile(clients.seconds, 0.95)
    print(f"lone request: mean {lone:.3f} s, p95 {slowest:.3f} s; capacity {1 / lone:.2f} a second")
    clients.seconds.clear()
    end, due = time.monotonic() + asked.half, time.monotonic()
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        clients.send("good")
        due += 2 * lone
    if clients.seconds:
        p95 = percentile(clients.seconds, 0.95)
        print(f"at half the capacity: p95 {p95:.3f} s = {p95 / lone:.2f} × the lone request's mean")
    clients.seconds.clear()
    clients.statuses.clear()
    interval = asked.clients * lone / asked.load
    begun, end = time.monotonic(), time.monotonic() + 60 * asked.minutes
    threads = [
        threading.Thread(target=clients.keep_sending, args=(number, interval, end)) for number in range(asked.clients)
    ]
    for thread in threads:
        thread.start()
    samples: list[tuple[float, float]] = []
    while time.monotonic() < end:
        samples.append(((time.monotonic() - begun) / 60, memory(process.pid)))
        time.sleep(1)
    for thread in threads:
        thread.join()
    print(f"{asked.clients} clients, {asked.minutes:g} minutes, {asked.load:g} × the capacity:")
    for key, count in sorted(clients.statuses.items()):
        print(f"  {key:<14} {count}")
    at = [
        statistics.median([size for when, size in samples if minute <= when < minute + 1])
        for minute in range(int(asked.minutes))
        if any(minute <= when < minute + 1 for when, _ in samples)
    ]
    print("  memory, median of each minute, MiB: " + " ".join(f"{size:.0f}" for size in at))
    growth = at[-1] / at[0] - 1
    print(f"  growth from the first minute to the last: {100 * growth:+.1f} %")
    print(f"  answers that were not as documented, or not the command's: {len(clients.wrong)}")
    for wrong, count in Counter(clients.wrong).most_common(9):
        print(f"    {count} × {wrong}")
    return bool(clients.wrong) or growth >= 0.05


if __name__ == "__main__":
    main()
