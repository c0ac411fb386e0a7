"""Write what 100 million photographs cost into docs/scale.md, from what was measured on one core and a simulation.

    python scripts/documentation/update_scale.py                 # from docs/results/scale.json
    python scripts/documentation/update_scale.py --measure DATA  # measure again first, on photographs of DATA/photos14

Measured are the seconds of processor that reading, restoring and writing take for each photograph, with its bytes
before and after; other work on the machine changes these little. Simulated are machines that are slow or lost, for
parts of a manifest that are dealt out beforehand and for parts that are taken when somebody is free.
"""

import argparse
import heapq
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from textwrap import fill

import numpy as np

ROOT = Path(__file__).parents[2]
MEASURED, PAGE = ROOT / "docs" / "results" / "scale.json", ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- scale: begin (scripts/documentation/update_scale.py) -->", "<!-- scale: end -->"
QUALITIES = (60, 75, 85, 95)
PHOTOGRAPHS, MEGAPIXELS = 100_000_000, 12
MACHINES, CORES = 500, 16
PRICE = 0.04
"""Dollars for a core and an hour, as an example."""
SLOW_SHARE, SLOW, LIFE_DAYS, RETURN_MINUTES = 0.02, 2.0, 30.0, 10.0
"""Share of machines that take so many times as long; mean days until one is lost, and minutes until it is replaced."""
WAYS = (
    ("one shard for each machine", MACHINES, True),
    ("16 shards for each machine, started as machines are free", 16 * MACHINES, False),
    ("Ray: 200 parts for each machine", 200 * MACHINES, False),
)
"""How a manifest is dealt out: into how many parts, and whether each machine has its own from the beginning."""
TEXT = """\
Measured on one core of a processor with {processor}: {count} photographs of 1.5 megapixels, as JPEGs of quality
{qualities} in turn, to PNG.

| | seconds per megapixel | of a photograph of 12 MP |
|---|---|---|
{table}
| before and after | | {inside} and {outside} MB |

So {photographs} photographs of 12 megapixels take about {hours} hours of a core: {days} days on {machines} machines of
{cores} cores, and {dollars} dollars at {price} for a core and hour (an example; put in your own price).

**What saturates first.** {all} cores restore {rate} photographs a second. They read {reads} GB/s and write {writes}
GB/s, {line} Mbit/s for each machine, whose network is idle most of the time. The store is asked {asked} times a second
whether there is an output or for an image, and writes {rate} times; where a prefix takes 3,500 writes a second, {full}
such machines fill it. Decoding takes {decoding} of the processors' time. So the processors come first, by far.

**Slow and lost machines**, simulated: the times of photographs are those measured, {share} of the machines take
{slow} times as long, each is lost once in {life} days on average, and goes on after {minutes} minutes. Days until the
last photograph is done, beside {days} if nothing goes wrong; medians of 9 simulations:

| how the manifest is dealt out | days | more |
|---|---|---|
{waits}
"""


def main() -> None:
    """Measure if asked to, simulate, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", type=Path, metavar="DATA")
    given = parser.parse_args()
    if given.measure:
        MEASURED.write_text(json.dumps(measure(given.measure), indent=1) + "\n")
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{written(json.loads(MEASURED.read_text()))}\n{END}{rest.partition(END)[2]}")


def measure(data: Path) -> dict[str, object]:
    """Measure on one core, in a process of its own so that nothing has more threads."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import update_scale as u; u.measured_rows()"
    )
    environment = os.environ | {"MSRN_CORES": "1", "OMP_NUM_THREADS": "1", "MSRN_PHOTOS": str(data / "photos14")}
    said = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(said.stdout)


def measured_rows() -> None:
    """Print, as JSON, what each photograph took: seconds of processor per megapixel, and bytes."""
    from time import process_time

    from msrn import Automatic, Picture, images
    from msrn.images.resize import resize
    from msrn.system.machine import kind

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    restorer, rows = Automatic(tasks=("denoise", "jpeg", "photo")), list[dict[str, float]]()
    paths = sorted(
        path for path in Path(os.environ["MSRN_PHOTOS"]).rglob("*") if path.suffix.lower() in images.SUFFIXES
    )
    warm = Picture(np.random.default_rng(0).random((3, 256, 256), np.float32))
    restorer(warm)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.jpg", Path(folder) / "a.png"
        for number, path in enumerate(paths):
            whole = images.read(path)
            pixels = resize(whole.pixels, size=(1000, 1500)).clip(0, 1)
            images.write(Picture(pixels), source, quality=QUALITIES[number % len(QUALITIES)], overwrite=True)
            times = [process_time()]
            picture = images.decode(source.read_bytes(), source)
            times.append(process_time())
            chain = restorer.settled(picture, None, None)
            made = chain(picture)
            times.append(process_time())
            images.write(made, target, overwrite=True)
            times.append(process_time())
            read, restored, written = (after - before for before, after in pairwise(times))
            row = {"read": read / 1.5, "restore": restored / 1.5, "write": written / 1.5}
            sizes = {"bytes_in": source.stat().st_size / 1.5, "bytes_out": target.stat().st_size / 1.5}
            rows.append({name: round(value, 4) for name, value in (row | sizes).items()})
    print(json.dumps({"processor": kind(), "per_megapixel": rows}))


def written(measured: dict[str, object]) -> str:
    """The section of the page."""
    rows: list[dict[str, float]] = measured["per_megapixel"]  # type: ignore[assignment]
    mean = {name: fmean(row[name] for row in rows) for name in rows[0]}
    steps = ("read", "restore", "write")
    each = MEGAPIXELS * sum(mean[name] for name in steps)
    hours = PHOTOGRAPHS * each / 3600
    days, rate = hours / 24 / (MACHINES * CORES), MACHINES * CORES / each
    inside, outside = (MEGAPIXELS * mean[name] / 1e6 for name in ("bytes_in", "bytes_out"))
    table = [f"| {name} | {mean[name]:.2f} | {MEGAPIXELS * mean[name]:.1f} s |" for name in steps]
    waits = []
    for name, parts, dealt in WAYS:
        found = median(simulated(rows, parts, dealt, seed) for seed in range(9)) / 86400
        waits.append(f"| {name} | {found:.1f} | {found / days - 1:.0%} |")
    text = TEXT.format(
        processor=measured["processor"],
        count=len(rows),
        qualities=", ".join(map(str, QUALITIES)),
        table="\n".join(table),
        inside=f"{inside:.1f}",
        outside=f"{outside:.1f}",
        photographs=f"{PHOTOGRAPHS:,}",
        hours=_rough(hours),
        days=f"{days:.1f}",
        machines=MACHINES,
        cores=CORES,
        dollars=_rough(hours * PRICE),
        price=PRICE,
        all=f"{MACHINES * CORES:,}",
        rate=f"{rate:,.0f}",
        asked=_rough(2 * rate),
        reads=f"{rate * inside / 1e3:.1f}",
        writes=f"{rate * outside / 1e3:.1f}",
        line=f"{rate / MACHINES * (inside + outside) * 8:.0f}",
        full=_rough(3500 * each / CORES),
        decoding=f"{MEGAPIXELS * mean['read'] / each:.0%}",
        share=f"{SLOW_SHARE:.0%}",
        slow=f"{SLOW:g}",
        life=f"{LIFE_DAYS:g}",
        minutes=f"{RETURN_MINUTES:g}",
        waits="\n".join(waits),
    )
    parts = text.split("\n\n")
    return "\n\n".join(part if part.startswith("|") else fill(part, 120) for part in parts).strip() + "\n"


def _rough(figure: float) -> str:
    """A figure in the three digits that a measurement of a few photographs is worth."""
    return f"{float(f'{figure:.3g}'):,.0f}"


def simulated(rows: list[dict[str, float]], parts: int, dealt: bool, seed: int) -> float:
    """Seconds until the last of all parts is done; a lost machine's part is gone on with where its outputs end."""
    rng = np.random.default_rng(seed)
    costs = np.array([MEGAPIXELS * (row["read"] + row["restore"] + row["write"]) for row in rows])
    images = PHOTOGRAPHS / parts
    # The sum of many draws is normal, by the mean and the spread of one.
    work = rng.normal(images * costs.mean(), np.sqrt(images) * costs.std(), parts) / CORES
    slow = np.where(rng.random(MACHINES) < SLOW_SHARE, SLOW, 1.0)
    free = [(0.0, machine) for machine in range(MACHINES)]
    heapq.heapify(free)
    end = 0.0
    for part in range(parts):
        began, machine = (0.0, part) if dealt else heapq.heappop(free)
        seconds = work[part] * slow[machine]
        seconds += rng.poisson(seconds / (LIFE_DAYS * 86400)) * RETURN_MINUTES * 60
        end = max(end, began + seconds)
        if not dealt:
            heapq.heappush(free, (began + seconds, machine))
    return end


if __name__ == "__main__":
    main()
