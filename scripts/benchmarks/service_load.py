"""The service under load: many clients, good, bad, slow and aborted requests, at a multiple of what it can do.

    python scripts/benchmarks/service_load.py                  # at half, then 64 clients, 3 minutes, at twice
    python scripts/benchmarks/service_load.py --soak 30        # and then 30 minutes at the capacity

The capacity is what eight clients get that always ask again, at that moment. Every answer must be one that is
documented for its request, every 200 byte for byte what the command writes, the memory of all processes must not grow
by 5 % from the first minute to the last, and at the end nothing may wait or be left over. `--keep` stores the figures
for the documentation.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from service_process import by_command, keep, memory, photograph, start

from msrn.service.problems import KINDS as PROBLEMS
from msrn.system.machine import cores, kind

MAX_BYTES = 4 << 20
SHARES = {"good": 70, "text": 6, "damaged": 6, "large": 6, "slow": 6, "aborted": 6}
"""What clients send, of 100 requests."""
BUSY = {"queue_full", "client_full", "no_memory", "no_worker", "too_long"}
EXPECTED = {"text": "unknown_format", "damaged": "bad_image", "large": "too_many_bytes", "slow": "slow_upload"}
"""The refusal that each kind gets, unless the service is busy."""
PICTURES = (("chelsea", 160), ("coffee", 240), ("astronaut", 320))


@dataclass
class Clients:
    """Clients of one service, each with an address of its own, and what became of their requests."""

    port: int
    pictures: list[bytes]
    expected: list[bytes]
    answers: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])
    taken: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    """Of each picture that was restored: its number, and seconds."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, what: str, client: int = 0) -> None:
        """One request of a kind, and its answer's check."""
        number = random.randrange(len(self.pictures))
        picture = self.pictures[number]
        data = {
            # Other bytes, the same picture: nothing is answered from the cache.
            "text": b"no picture at all" * 9 + os.urandom(16),
            "damaged": picture[: len(picture) // 2] + os.urandom(16),
            "large": bytes(MAX_BYTES + 1),
        }.get(what, picture + os.urandom(16))
        connection = HTTPConnection("127.0.0.1", self.port, timeout=150, source_address=(f"127.0.0.{2 + client}", 0))
        started = time.monotonic()
        try:
            connection.putrequest("POST", "/v1/restore")
            connection.putheader("Content-Type", "image/jpeg")
            connection.putheader("Content-Length", str(len(data)))
            connection.endheaders()
            connection.send(data[:100] if what == "slow" else data)
            if what == "aborted":
                time.sleep(random.random() / 2)
                self.note(what, "left", "")
                return
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            self.note(what, type(error).__name__, f"{error}")
            return
        finally:
            connection.close()
        with self.lock:
            if answer.status == 200:
                self.taken.append((number, time.monotonic() - started))
        if answer.status == 200:
            same = what == "good" and body == self.expected[number]
            self.note(what, "200", "" if same else "another result than the command's")
        else:
            self.note(what, str(answer.status), refused_wrongly(what, answer.status, answer.headers, body))

    def note(self, what: str, answer: str, wrong: str) -> None:
        """Count an answer."""
        with self.lock:
            self.answers[f"{what} {answer}"] += 1
            if wrong:
                self.wrong.append(f"{what} {answer}: {wrong}")

    def keep_asking(self, seconds: float) -> int:
        """Ask for pictures, one after the other; how many were restored."""
        before, end = len(self.taken), time.monotonic() + seconds
        while time.monotonic() < end:
            self.send("good")
        return len(self.taken) - before


def refused_wrongly(what: str, status: int, headers: Any, body: bytes) -> str:
    """What is wrong with a refusal; empty if it is as documented."""
    try:
        code = json.loads(body)["code"]
    except (ValueError, KeyError, TypeError):
        return f"no problem in JSON: {body[:60]!r}"
    if code not in PROBLEMS or PROBLEMS[code].status != status:
        return f"{code} is not documented"
    if status == 429 and "Retry-After" not in headers:
        return "no Retry-After"
    return "" if code in BUSY or code == EXPECTED.get(what) else code


def capacity(clients: Clients, seconds: float = 15) -> float:
    """Pictures a second that eight clients get who always ask again."""
    clients.keep_asking(2)
    started, before = time.monotonic(), len(clients.taken)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(clients.keep_asking, [seconds] * 8))
    return (len(clients.taken) - before) / (time.monotonic() - started)


def at_half(clients: Clients, asked: int, rounds: int) -> dict[str, Any]:
    """Compare requests at half the capacity, at even distances, with the same picture's when nobody else asks.

    Other work on the machine lengthens single requests, alone and among others. So both p95 are given, in parts of the
    median of the same picture's lone requests.
    """
    alone: list[float] = []
    among: list[float] = []
    for _ in range(rounds):
        rate = capacity(clients)
        clients.taken.clear()
        for _ in range(asked):
            clients.send("good")
        lone = {k: statistics.median(s for n, s in clients.taken if n == k) for k, _ in set(clients.taken)}
        alone.append(percentile([seconds / lone[number] for number, seconds in clients.taken], 0.95))
        clients.taken.clear()
        with ThreadPoolExecutor(64) as pool:
            started = time.monotonic()
            for number in range(asked):
                time.sleep(max(0.0, started + 2 * number / rate - time.monotonic()))
                pool.submit(clients.send, "good", number % 64)
        among.append(percentile([seconds / lone[number] for number, seconds in clients.taken if number in lone], 0.95))
        print(f"capacity {rate:.1f} a second: p95 alone {alone[-1]:.2f}, at half of it {among[-1]:.2f} ({load()})")
    figures = {"alone": statistics.median(alone), "ratio": statistics.median(among)}
    return figures | {"rounds alone": alone, "rounds": among, "asked": asked}


def under_load(clients: Clients, pid: int, many: int, minutes: float, multiple: float) -> dict[str, Any]:
    """Many clients that ask at their own pace, together for a multiple of the capacity, whatever is answered."""
    rate = capacity(clients)
    clients.answers.clear()
    clients.taken.clear()
    interval = many * SHARES["good"] / 100 / (multiple * rate)
    started, chance, samples = time.monotonic(), random.Random(32), list[tuple[float, float]]()
    end = started + 60 * minutes
    due = sorted((started + chance.random() * interval, client) for client in range(many))
    with ThreadPoolExecutor(512) as pool:
        while due[0][0] < end:
            at, client = due.pop(0)
            time.sleep(max(0.0, at - time.monotonic()))
            pool.submit(clients.send, chance.choices(list(SHARES), list(SHARES.values()))[0], client)
            due.append((at + interval, client))
            if not samples or time.monotonic() > samples[-1][0] + 1:
                samples.append((time.monotonic(), memory(pid)))
    sizes = [
        statistics.median(size for when, size in samples if minute <= (when - started) / 60 < minute + 1)
        for minute in range(max(1, int(minutes)))
    ]
    print(f"{many} clients, {minutes:g} minutes, {multiple:g} × the capacity of {rate:.1f} a second ({load()}):")
    for key, count in sorted(clients.answers.items()):
        print(f"  {key:<14} {count}")
    print("  memory, median of each minute, MB: " + " ".join(f"{size:.0f}" for size in sizes))
    answers = dict(sorted(clients.answers.items()))
    figures: dict[str, Any] = {"clients": many, "minutes": minutes, "multiple": multiple, "capacity": rate}
    return figures | {"answers": answers, "memory": sizes, "growth": sizes[-1] / sizes[0] - 1}


def left_over(clients: Clients, cache: Path) -> list[str]:
    """What should not be there when all is done, a minute later at most."""
    for _ in range(60):
        with urlopen(f"http://127.0.0.1:{clients.port}/metrics") as answer:
            waiting = b"msrn_waiting 0.0" in answer.read()
        parts = [path.name for path in cache.iterdir() if path.name.startswith("part-")]
        if waiting and not parts:
            return []
        time.sleep(1)
    return [*parts, *([] if waiting else ["pictures that wait"])]


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def load() -> str:
    """How busy the machine is, with this and other work."""
    return f"load {os.getloadavg()[0]:.1f}"


def main() -> None:
    """Measure, print, and end with 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=3, help="at twice the capacity; 0 leaves that out")
    parser.add_argument("--half", type=int, default=100, help="requests at half the capacity; 0 leaves that out")
    parser.add_argument("--rounds", type=int, default=3, help="how often these are made, for the median")
    parser.add_argument("--soak", type=float, default=0, help="minutes at the capacity")
    parser.add_argument("--keep", action="store_true", help="store the figures for the documentation")
    asked = parser.parse_args()
    pictures = [photograph(name, side, side, quality=30) for name, side in PICTURES]
    failed, found = list[str](), dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        process, port = start(cache, "--max-bytes", str(MAX_BYTES), "--cache-bytes", str(64 << 20))
        clients = Clients(port, pictures, [by_command(data) for data in pictures])
        try:
            if asked.half:
                found["half"] = at_half(clients, asked.half, asked.rounds)
            if asked.minutes:
                found["overload"] = under_load(clients, process.pid, asked.clients, asked.minutes, 2)
            if asked.soak:
                found["soak"] = under_load(clients, process.pid, asked.clients, asked.soak, 1)
            failed += left_over(clients, cache)
        finally:
            process.terminate()
            failed += ["exit status of the service"] if process.wait() else []
    failed += [f"{count} × {wrong}" for wrong, count in Counter(clients.wrong).most_common(9)]
    for name, figures in found.items():
        figures |= {"kind": kind(), "cores": cores(), "load": os.getloadavg()[0]}
        if figures.get("growth", 0.0) >= 0.05 or figures.get("ratio", 0.0) > 1.5 * figures.get("alone", 1.0):
            failed.append(f"{name}: memory grows, or requests take too long")
        if asked.keep:
            keep(name, figures)
    print("\n".join(["not as it must be:", *failed]) if failed else "all as it must be")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
