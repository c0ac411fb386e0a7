"""What fewer memory blocks cost and save, and what the best choice for each tile could save.

    python scripts/benchmarks/effort.py [DATA] [--photographs FOLDER] [--tasks sr] [--networks m4r1s2 m6r1s2]

DATA holds ``set5``, ``s14`` and ``classic5``: PSNR by the literature's protocol. Seconds are those of all cores
together, of a plane of 512×512 pixels in fp32, for a megapixel. FOLDER holds photographs of a megapixel and more, of
which nine windows (``--windows 3``, squared) of 192×192 pixels each, spread evenly, are restored by every effort. Each
tile of them then stops after one of the blocks, by a rule that knows what comes out: no prediction can save more.

half a level    the first block after which the tile is, on root mean square, less than half a grey level from the end
or none         the same, and no block at all where the degraded tile is near enough
threshold       the same with another threshold
all or none     no block where the degraded tile is near enough, by another threshold, otherwise all of them
budget          the blocks that save most for the squared difference from the result, of all tiles of all photographs
truth           the same for the squared error: it knows the clean photograph, so it may take the better image

The last four are turned up until the photographs lose 0.02 dB on average. Saved are multiply-adds: first as if a tile
could be computed for itself; then with what each block needs around it, shared by neighbours, the least that an exact
computation can do; then in tiles that are computed one by one, each with its halo, as all backends do, against tiles
of 512.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msrn import images
from msrn.evaluation.inspection.passes import images_after_blocks
from msrn.evaluation.methods import WeightsMethod
from msrn.evaluation.protocol import evaluate
from msrn.images.color import luminance
from msrn.images.degradations import degradation_for
from msrn.images.folder import list_images
from msrn.network.effort import first_weights, shortened
from msrn.network.memnet import build
from msrn.network.weights import load
from msrn.restoration.restorer import Restorer
from msrn.types import Task

CASES: tuple[tuple[Task, str, tuple[float, ...]], ...] = (
    ("sr", "set5", (2, 4)),
    ("denoise", "s14", (30, 50)),
    ("jpeg", "classic5", (10, 40)),
)
EXAMPLES: dict[str, float] = {"sr": 2, "denoise": 25, "jpeg": 30}
"""Levels for the photographs."""
LOSS = 0.02
"""Decibels that a rule may lose, on average of the photographs."""
MARGIN, WINDOW = 32, 192
"""Pixels around a window that are computed with it, at least the halo, and side of a window."""
Planes = NDArray[np.float32]
Floats = NDArray[np.float64]


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


def windows(folder: Path, task: Task, count: int) -> Iterator[list[tuple[Planes, Planes]]]:
    """Of each photograph, count² pairs of degraded and clean luminance ``(1, 256, 256)``, from 0 to 1."""
    rng, side = np.random.default_rng(0), WINDOW + 2 * MARGIN
    degradation = degradation_for(task)
    for path in list_images([folder]):
        picture = images.read(path)
        if picture.height * picture.width < 1e6:
            continue
        pairs = list[tuple[Planes, Planes]]()
        for down, right in np.ndindex(count, count):
            free = picture.height - side, picture.width - side
            top, left = (int(room * (k + 0.5) / count) for room, k in zip(free, (down, right), strict=True))
            part = picture.pixels[:, top : top + side, left : left + side]
            clean = luminance(part, "studio" if task == "sr" else "full").astype(np.float32)
            pairs.append((degradation.apply(clean, EXAMPLES[task], rng).astype(np.float32), clean))
        yield pairs


@dataclass(frozen=True)
class Foresight:
    """What each effort, from 0 to all blocks, makes of every tile of some photographs, as sums of squares."""

    from_result: Floats
    """``(efforts, photographs, tiles)``: differences from the result of all blocks, in grey levels."""
    from_truth: Floats
    """The same from the clean photograph."""
    side: int
    """Of a tile."""

    def lost(self, stops: NDArray[np.intp]) -> float:
        """Decibels that it costs, on average of the photographs."""
        errors = np.take_along_axis(self.from_truth, stops[None], axis=0)[0].sum(axis=1)
        return float((10 * np.log10(errors / self.from_truth[-1].sum(axis=1))).mean())

    def near(self, levels: float, least: int) -> NDArray[np.intp]:
        """Stops at the first effort, from the least, that is so near to the result, root mean square."""
        return least + (self.from_result[least:] <= levels**2 * self.side**2).argmax(axis=0)

    def budgeted(self, squares: Floats, price: float, costs: Floats) -> NDArray[np.intp]:
        """Stops where the cost and the price of the squares, relative to the photograph's error, are least together."""
        relative = (squares - squares[-1]) / self.from_truth[-1].sum(axis=1)[:, None]
        return (costs[:, None, None] / costs[-1] + price * relative).argmin(axis=0)


def foresee(network: str, task: Task, folder: Path, count: int, sides: tuple[int, ...]) -> list[Foresight]:
    """Restore the windows, and add up squares over tiles of each side."""
    weights = load(network)
    blocks, ensemble, made = weights.card.config.memory_blocks, weights.arrays["ensemble"], build(weights)
    found: dict[int, list[tuple[Floats, Floats]]] = {side: [] for side in sides}
    for pairs in windows(folder, task, count):
        squares = list[tuple[Planes, Planes]]()
        for degraded, clean in pairs:
            each = images_after_blocks(made, degraded)
            efforts = [degraded] + [
                np.tensordot(first_weights(ensemble, k + 1), each[: k + 1], 1) for k in range(blocks)
            ]
            inner = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
            after = (np.stack(efforts)[inner][:, 0] * np.float32(255)).clip(0, 255)
            squares.append(((after - after[-1]) ** 2, (after - clean[inner][0] * np.float32(255)) ** 2))
        for side in sides:
            near, far = (np.concatenate([tile_sums(one[k], side) for one in squares], axis=1) for k in (0, 1))
            found[side].append((near, far))
    return [Foresight(*(np.stack(all_of, axis=1) for all_of in zip(*found[side], strict=True)), side) for side in sides]


def tile_sums(squares: Planes, side: int) -> Floats:
    """``(efforts, tiles)`` of ``(efforts, 192, 192)``."""
    count = WINDOW // side
    cut = squares.astype(np.float64).reshape(len(squares), count, side, count, side)
    return cut.sum(axis=(2, 4)).reshape(len(squares), -1)


class Costs:
    """Multiply-adds per pixel of a network's efforts, by three ways of counting.

    Args:
        network: name of the weights.
        side: of the tiles.
    """

    def __init__(self, network: str, side: int) -> None:
        weights = load(network)
        configs = [shortened(weights, k).card.config for k in range(1, weights.card.config.memory_blocks + 1)]
        self.side, self.last = side, configs[-1]
        self.alone = np.array([0.0, *(config.multiply_adds_per_pixel for config in configs)])
        around = np.array([0.0, *((side + 2 * config.halo) ** 2 / side**2 for config in configs)])
        self.one_by_one = self.alone * around / (1 + 2 * self.last.halo / 512) ** 2

    def saved(self, stops: NDArray[np.intp]) -> tuple[float, float, float]:
        """Shares saved by stops ``(photographs, tiles)``: tiles alone, with shared surroundings, one by one."""
        whole = float(self.alone[-1])
        alone, single = (1 - float(costs[stops].mean()) / whole for costs in (self.alone, self.one_by_one))
        return alone, 1 - self._shared(stops) / whole, single

    def _shared(self, stops: NDArray[np.intp]) -> float:
        """Multiply-adds per pixel where each block is computed where it, or a later block, is needed."""
        count, step = WINDOW // self.side, 4
        grid = stops.reshape(-1, count, count).repeat(self.side // step, axis=1).repeat(self.side // step, axis=2)
        reach = self.last.unshuffle * 2 * self.last.applications // step  # of one block, in cells of 4×4 pixels
        needed, total = np.zeros(grid.shape, bool), 0.0
        for block in range(len(self.alone) - 1, 0, -1):
            wide = np.pad(needed, ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
            near = [np.roll(wide, (y, x), (1, 2)) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
            needed = np.any(near, axis=0)[:, reach:-reach, reach:-reach] | (grid >= block)
            total += float(needed.mean()) * float(self.alone[block] - self.alone[block - 1])
        return total


def strongest(seen: Foresight, costs: Costs, rule: str) -> NDArray[np.intp]:
    """The stops by a rule that is turned up as far as its loss allows."""
    best, least = np.full(seen.from_truth.shape[1:], len(seen.from_truth) - 1), np.inf
    for strength in np.geomspace(1e-4, 1e6, 241):
        if rule == "threshold":
            stops = seen.near(1 / strength, 0)
        elif rule == "all or none":
            stops = np.where(seen.near(1 / strength, 0) > 0, len(seen.from_truth) - 1, 0)
        else:
            squares = seen.from_result if rule == "budget" else seen.from_truth
            stops = seen.budgeted(squares, strength, costs.alone)
        cost = float(costs.alone[stops].mean())
        if seen.lost(stops) <= LOSS and cost < least:
            best, least = stops, cost
    return best


def best_choices(network: str, task: Task, folder: Path, count: int) -> None:
    """Rows: what each rule saves, and what it loses."""
    for seen in foresee(network, task, folder, count, (32, 64, 192)):
        costs = Costs(network, seen.side)
        found = {"half a level": seen.near(0.5, 1), "or none": seen.near(0.5, 0)}
        found |= {rule: strongest(seen, costs, rule) for rule in ("threshold", "all or none", "budget", "truth")}
        for rule, stops in found.items():
            saved = " | ".join(f"{100 * share:.0f} %" for share in costs.saved(stops))
            print(f"| `{network}` | {seen.side} | {rule} | {saved} | {seen.lost(stops):.3f} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=[task for task, _, _ in CASES])
    parser.add_argument("--networks", nargs="+", default=["m4r1s2", "m6r1s2"])
    options = parser.parse_args()
    for task, folder, levels in CASES if options.data is not None else ():
        shown = " | ".join(f"{folder}, {level:g}" for level in levels)
        print(f"\n| {task} | effort | {shown} | s/MP |\n|{'---|' * (3 + len(levels))}", flush=True)
        for network in options.networks:
            scores(f"msrn-{network}-{task}", task, options.data / folder, levels)
    if options.photographs is not None:
        print("\n| weights | tiles | rule | alone | shared | one by one | dB lost |\n|---|---|---|---|---|---|---|")
        for network in options.networks:
            for task, _, _ in CASES:
                if task in options.tasks:
                    best_choices(f"msrn-{network}-{task}", task, options.photographs, options.windows)


if __name__ == "__main__":
    main()
