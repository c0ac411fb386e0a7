"""What fewer memory blocks cost and save, and what the best choice for each tile could save.

    python scripts/benchmarks/effort.py DATA [--photographs FOLDER] [--networks m4r1s2 m6r1s2]

DATA holds ``set5``, ``s14`` and ``classic5``: PSNR by the literature's protocol. Seconds are those of all cores
together, of a plane of 512×512 pixels in fp32, for a megapixel. FOLDER holds photographs of a megapixel and more, of
whose middles 384×384 pixels are restored by all blocks; a tile of 64×64 then stops at the first block after which the
picture is, on root mean square, less than half a grey level from the last one. That is known afterwards only: no
prediction can save more by this rule, and halos are left out.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msrn import images
from msrn.evaluation.methods import WeightsMethod
from msrn.evaluation.protocol import evaluate
from msrn.images.color import luminance
from msrn.images.degradations import degradation_for
from msrn.images.folder import list_images
from msrn.restoration.restorer import Restorer
from msrn.types import Task

CASES: tuple[tuple[Task, str, tuple[float, ...]], ...] = (
    ("sr", "set5", (2, 4)),
    ("denoise", "s14", (30, 50)),
    ("jpeg", "classic5", (10, 40)),
)
EXAMPLES: dict[str, float] = {"sr": 2, "denoise": 25, "jpeg": 30}
"""Levels for the photographs."""
Planes = NDArray[np.float32]


def restorers(name: str) -> list[Restorer]:
    """One for each effort, computing in fp32."""
    blocks = Restorer(name).config.memory_blocks
    return [Restorer(name, effort=effort, precision="fp32") for effort in range(1, blocks + 1)]


def seconds(restorer: Restorer) -> float:
    """Of all cores together, for a megapixel; the better of two."""
    plane, times = np.full((1, 1, 512, 512), 0.5, np.float32), list[float]()
    for _ in range(3):  # the first prepares this size
        started = time.process_time()
        restorer.restore_planes(plane)
        times.append(time.process_time() - started)
    return min(times[1:]) / 512**2 * 1e6


def scores(name: str, task: Task, folder: Path, levels: tuple[float, ...]) -> None:
    """A row for each effort."""
    for effort, restorer in enumerate(restorers(name), start=1):
        each = [evaluate(task, level, folder, WeightsMethod(restorer)) for level in levels]
        cells = " | ".join(f"{result.mean.psnr:.2f}" for result in each)
        print(f"| `{name}` | {effort} | {cells} | {seconds(restorer):.2f} |", flush=True)


def middles(folder: Path, task: Task) -> Iterator[tuple[Planes, Planes]]:
    """Degraded and clean luminance ``(1, 384, 384)``, from 0 to 1."""
    rng = np.random.default_rng(0)
    degradation = degradation_for(task)
    for path in list_images([folder]):
        picture = images.read(path)
        if picture.height * picture.width < 1e6:
            continue
        top, left = (picture.height - 384) // 2, (picture.width - 384) // 2
        part = picture.pixels[:, top : top + 384, left : left + 384]
        clean = luminance(part, "studio" if task == "sr" else "full").astype(np.float32)
        yield degradation.apply(clean, EXAMPLES[task], rng).astype(np.float32), clean


def tiles(plane: Planes) -> Planes:
    """``(36, 4096)`` in grey levels."""
    return plane[0].reshape(6, 64, 6, 64).transpose(0, 2, 1, 3).reshape(36, 4096) * np.float32(255)


def best_choice(name: str, task: Task, folder: Path) -> None:
    """A row: what stopping each tile at the right block would save, and cost."""
    saved, lost = list[float](), list[float]()
    made = restorers(name)
    for degraded, clean in middles(folder, task):
        after = np.stack([tiles(each.restore_planes(degraded[None])[0]) for each in made])
        away = np.sqrt(((after - after[-1]) ** 2).mean(axis=2))
        stops = (away < 0.5).argmax(axis=0)  # the last one always is
        chosen = after[stops, np.arange(after.shape[1])]
        errors = [np.mean((each.clip(0, 255) - tiles(clean)) ** 2) for each in (chosen, after[-1])]
        saved.append(1 - float(np.mean(stops + 1)) / len(made))
        lost.append(float(10 * np.log10(errors[0] / errors[1])))
    print(f"| `{name}` | {len(saved)} | {100 * np.mean(saved):.0f} % | {np.mean(lost):.3f} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--networks", nargs="+", default=["m4r1s2", "m6r1s2"])
    options = parser.parse_args()
    for task, folder, levels in CASES:
        shown = " | ".join(f"{folder}, {level:g}" for level in levels)
        print(f"\n| {task} | effort | {shown} | s/MP |\n|{'---|' * (3 + len(levels))}", flush=True)
        for network in options.networks:
            scores(f"msrn-{network}-{task}", task, options.data / folder, levels)
    if options.photographs is not None:
        print("\n| weights | photographs | blocks saved | dB lost |\n|---|---|---|---|", flush=True)
        for task, _, _ in CASES:
            for network in options.networks:
                best_choice(f"msrn-{network}-{task}", task, options.photographs)


if __name__ == "__main__":
    main()
