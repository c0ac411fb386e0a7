"""What starting costs: ``msrn upscale`` on one 512×512 image, against the same work in a process that has started.

    python scripts/benchmarks/startup.py [--rounds 7] [--against OTHER/src] [--empty-cache]

The work is reading the PNG file, enlarging it by 2 with the default weights and writing the result, when all is loaded
and compiled. The rest of the command's time, from its start to its exit, is the start-up. ``--against`` measures the
package of another checkout in turns with this one's. The timing of the backends is kept from a run that is not counted,
as on any machine that has enlarged an image before; ``--empty-cache`` deletes it before every run.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parents[2] / "src"
WORK = """
import json, sys, time
from pathlib import Path
import msrn
from msrn import Restorer
restorer, times = Restorer("sr"), []
for _ in range(int(sys.argv[3]) + 1):
    Path(sys.argv[2]).unlink()
    started = time.perf_counter()
    msrn.write(restorer(msrn.read(Path(sys.argv[1])), scale=2), Path(sys.argv[2]))
    times.append(time.perf_counter() - started)
print(json.dumps(times[1:]))
"""


def main() -> None:
    """Print medians, and the ratio of each round's start-ups where there are two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--against", type=Path, help="the src folder of another checkout")
    parser.add_argument("--empty-cache", action="store_true")
    options = parser.parse_args()

    packages = [HERE, *([options.against.resolve()] if options.against else [])]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.png"), Path(folder, "out.png")
        rough = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        rough.resize((512, 512), Image.Resampling.BICUBIC).save(source)
        work: list[float] = []
        for number, package in enumerate(packages):
            _run(package, folder, number, "-m", "msrn", "upscale", source, "-o", target, "--overwrite", "-q")
            printed = _run(package, folder, number, "-c", WORK, source, target, options.rounds)
            work.append(statistics.median(json.loads(printed)))
        starts: list[list[float]] = [[] for _ in packages]
        for _ in range(options.rounds):
            for number, package in enumerate(packages):
                if options.empty_cache:
                    shutil.rmtree(_cache(folder, number))
                started = time.perf_counter()
                _run(package, folder, number, "-m", "msrn", "upscale", source, "-o", target, "--overwrite", "-q")
                starts[number].append(time.perf_counter() - started - work[number])
    for package, each, taken in zip(packages, starts, work, strict=True):
        start = statistics.median(each)
        print(f"{package}: start-up {start:.2f} s, {start / (start + taken):.0%} of {start + taken:.2f} s")
    if options.against:
        ratios = [new / old for new, old in zip(*starts, strict=True)]
        print(f"start-up, this checkout's by the other's: {statistics.median(ratios):.2f}")


def _cache(folder: str, number: int) -> Path:
    return Path(folder, f"cache{number}")


def _run(package: Path, folder: str, number: int, *arguments: object) -> str:
    environment = os.environ | {"PYTHONPATH": str(package), "MSRN_CACHE": str(_cache(folder, number))}
    if not (package / "msrn" / "__main__.py").exists():  # an older one
        arguments = tuple("msrn.cli" if word == "msrn" else word for word in arguments)
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
