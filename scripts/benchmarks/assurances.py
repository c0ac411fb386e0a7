"""What less effort, likely errors and certificates cost: seconds of all cores, and the peak of memory.

    python scripts/benchmarks/assurances.py PHOTOGRAPH [--repeats 1]

The photograph is made 1200 pixels wide, as a JPEG of quality 30 (4:2:0) whose artifacts are removed, and half of that,
which is enlarged by 2. Every row is a process of its own, in fp32 by OpenVINO, and restores a small part first. Seconds
are the least of the repeats; memory is the most that the process ever held, the program and its networks included.
"""

import argparse
import resource
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

from PIL import Image

from msrn.images import decode
from msrn.images.picture import Picture
from msrn.restoration.assurance import Assurance
from msrn.restoration.restorer import How, Restorer
from msrn.restoration.tiles import Rectangle
from msrn.types import Task

WIDTH = 1200
TASKS: dict[str, Task] = {"dejpeg": "jpeg", "upscale": "sr"}
CASES: dict[str, dict[str, int | bool]] = {
    "plain": {},
    "effort 2": {"effort": 2},
    "effort 1": {"effort": 1},
    "confidence": {"confidence": True},
    "consistent": {"consistent": True},
}
WARM = Rectangle(0, 96, 0, 96)


def picture_for(command: str, photograph: Path) -> Picture:
    """What a command restores: a JPEG file's picture with its coefficients, or a small one."""
    image = Image.open(photograph).convert("RGB")
    height = round(image.height * WIDTH / image.width / 16) * 16
    if command == "upscale":
        return Picture.from_pil(image.resize((WIDTH // 2, height // 2), Image.Resampling.BICUBIC))
    file = BytesIO()
    image.resize((WIDTH, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=30, subsampling="4:2:0")
    return decode(file.getvalue(), Path("photograph.jpg"), coefficients=True)


def measure_one(command: str, case: str, photograph: Path, repeats: int) -> None:
    """Print the seconds and the megabytes of one row."""
    wanted = dict(CASES[case])
    restorer = Restorer(TASKS[command], effort=int(wanted.pop("effort", 0)), backend="openvino", precision="fp32")
    picture, how = picture_for(command, photograph), How()
    if command == "upscale":
        how["scale"] = 2.0
    restorer(picture.cut(*WARM.slices), **how)
    times = list[float]()
    for _ in range(repeats):
        started = time.process_time()
        assurance = Assurance(
            restorer,
            picture,
            Path("made.png"),
            95,
            confidence=bool(wanted.get("confidence")),
            consistent=bool(wanted.get("consistent")),
        )
        assurance.of(assurance.restorer(picture, **how))
        times.append(time.process_time() - started)
    print(min(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs=2, metavar=("COMMAND", "CASE"), help="one row, in this process")
    options = parser.parse_args()
    if options.only:
        command, case = options.only
        measure_one(command, case, options.photograph, options.repeats)
        return
    print("| | `dejpeg`: time | memory | `upscale`: time | memory |\n|---|---|---|---|---|")
    for case in CASES:
        cells = list[str]()
        for command in TASKS:
            again = [sys.executable, __file__, str(options.photograph), "--repeats", str(options.repeats)]
            said = subprocess.run(
                [*again, "--only", command, case], capture_output=True, text=True, check=True
            ).stdout.split()
            cells += [f"{float(said[0]):.2f} s", f"{float(said[1]):.0f} MB"]
        name = f"`--{case}`" if CASES[case] else case
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
