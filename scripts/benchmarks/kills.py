"""Kill batches, videos and training runs at random moments, and see what is lost.

    python scripts/benchmarks/kills.py --kills 200

A third of the kills each. Everything is then run to its end and compared with what was never disturbed, byte for byte.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Kill as often as the command line says, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    training = given.kills // 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said = run("killed_restoring", folder, given.kills - training, given.seed)
        (folder / "data" / "images").mkdir(parents=True)
        rng = np.random.default_rng(given.seed)
        for index in range(4):
            small = Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8))
            small.resize((72, 72), Image.Resampling.BICUBIC).save(folder / "data" / "images" / f"{index}.png")
        said["training"] = run("killed_training", folder / "data", folder / "runs", training, given.seed)
    for kind, found in said.items():
        print(f"{kind}: " + ", ".join(f"{what.replace('_', ' ')} {count}" for what, count in found.items()))


def run(helper: str, *arguments: object) -> dict[str, dict[str, object]]:
    """What a program of the tests' helpers prints."""
    command = [sys.executable, "-m", f"tests.helpers.{helper}", *map(str, arguments)]
    process = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(process.stdout)


if __name__ == "__main__":
    main()
