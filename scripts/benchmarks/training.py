"""Training throughput against a plain loop: the same network, batch and optimiser, eager, fp32, default layout.

    python scripts/benchmarks/training.py RECIPE --data-root DATA [--set KEY=VALUE] [--rounds 11] [--json]

Every loop lives in a process of its own, as it would for a user, and makes one step per round, in turn: whatever else
the machine does hits all of them. A ratio is the median over the rounds of the quotient of two neighbouring steps.
Prints the ratios, the share of a step spent on drawing and degrading patches, and the activations kept per patch. With
``--set optimiser.freeze_batchnorm_step=0`` it measures the second half of a run, where BatchNorms are frozen.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from msrn.system.machine import keep_freed_memory
from msrn.training import recipe_file
from msrn.training.distributed import World
from msrn.training.loader import load_material
from msrn.training.loss import objective
from msrn.training.patches import Feed, Pairs
from msrn.training.recipe import Recipe
from msrn.training.setting import Setting, choose_training_precision
from msrn.training.state import network_config, start_run
from msrn.training.trainer import train_step

PLAIN, OURS, COMPILED = "plain loop", "msrn train", "msrn train --compile"
WARM_UP = 2
"""Rounds that count for nothing: the first compiles, the second finds its memory."""


def plain(recipe: Recipe) -> Callable[[Pairs], object]:
    """The loop that anyone would write first."""
    network = start_run(recipe, None, Setting()).network.to(memory_format=torch.contiguous_format).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-6)

    def step(parts: Pairs) -> float:
        optimiser.zero_grad()
        for degraded, clean in parts:
            objective(network.all_outputs(degraded), clean, recipe.loss).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        return 0.0

    return step


def ours(recipe: Recipe, precision: torch.dtype, compiled: bool) -> Callable[[Pairs], object]:
    """What ``msrn train`` does."""
    keep_freed_memory()
    setting = Setting(precision=precision, compiled=compiled)
    options = recipe.optimiser.model_copy(update={"rate": 1e-6})
    run = start_run(recipe.model_copy(update={"optimiser": options}), None, setting)
    return lambda parts: train_step(run, parts)


def loop(name: str, recipe: Recipe, precision: torch.dtype, parent: Connection) -> None:
    """A process: make a step for every batch that arrives, and answer with its seconds."""
    step = plain(recipe) if name == PLAIN else ours(recipe, precision, compiled=name == COMPILED)
    while (arrays := parent.recv()) is not None:
        parts = [(torch.from_numpy(degraded), torch.from_numpy(clean)) for degraded, clean in arrays]
        begun = time.perf_counter()
        step(parts)
        parent.send(time.perf_counter() - begun)


def bytes_per_patch(recipe: Recipe, precision: torch.dtype) -> float:
    """What the forward pass keeps for the backward pass, counted once per storage."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    run = start_run(recipe, None, Setting(precision=precision))
    run.network.train()
    patches = torch.rand(2, recipe.network.in_channels, recipe.data.patch, recipe.data.patch)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32),
    ):
        outputs = run.forward(patches)
    del outputs
    return sum(kept.values()) / len(patches)


def step_seconds(
    recipe: Recipe, data_root: Path, precision: torch.dtype, rounds: int
) -> tuple[list[float], dict[str, list[float]]]:
    """The seconds of every round: of drawing patches, and of each loop's step."""
    device, context = torch.device("cpu"), get_context("spawn")
    feed = Feed(load_material(recipe, data_root, device).sampler, recipe.optimiser, World(), device)
    loops: dict[str, Connection] = {}
    for name in (PLAIN, OURS, COMPILED):
        loops[name], theirs = context.Pipe()
        context.Process(target=loop, args=(name, recipe, precision, theirs), daemon=True).start()
    drawing: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(WARM_UP + rounds):
        begun = time.perf_counter()
        parts = feed.parts(number)
        drawing.append(time.perf_counter() - begun)
        arrays = [(degraded.numpy(), clean.numpy()) for degraded, clean in parts]
        for name, process in loops.items():
            process.send(arrays)
            seconds[name].append(process.recv())
    for process in loops.values():
        process.send(None)
    return drawing, {name: steps[WARM_UP:] for name, steps in seconds.items()}


def compared(recipe: Recipe, drawing: list[float], seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Throughput of each loop, its ratio to the plain one, and the share of a step spent on drawing."""
    draw = statistics.median(drawing)
    rows: dict[str, dict[str, float]] = {}
    for name, own in seconds.items():
        steps, against = ([draw + step for step in each] for each in (own, seconds[PLAIN]))
        rows[name] = {
            "patches_per_second": recipe.optimiser.batch / statistics.median(steps),
            "ratio": statistics.median(theirs / mine for theirs, mine in zip(against, steps, strict=True)),
            "data_share": draw / statistics.median(steps),
        }
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    recipe = recipe_file.load(options.recipe, [*options.set, "data.resident=false"])
    recipe = recipe.model_copy(update={"growth": None})
    automatic = choose_training_precision(torch.device("cpu"), "auto")
    rows = compared(recipe, *step_seconds(recipe, options.data_root, automatic, options.rounds))
    report = {
        "recipe": recipe.name,
        "network": network_config(recipe.network).name,
        "batch": recipe.optimiser.batch,
        "patch": recipe.data.patch,
        "threads": torch.get_num_threads(),
        "precision": str(automatic).removeprefix("torch."),
        "mebibytes_per_patch": {
            str(dtype).removeprefix("torch."): bytes_per_patch(recipe, dtype) / 2**20
            for dtype in {torch.float32, automatic}
        },
        "variants": rows,
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    network = f"{report['network']}C{recipe.network.channels}"
    print(f"{network}, batch {report['batch']} of {report['patch']}×{report['patch']}, {report['precision']}")
    print("| loop | patches/s | against plain | data |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['patches_per_second']:.1f} | {row['ratio']:.2f}× | {row['data_share']:.1%} |")
    kept = ", ".join(f"{size:.1f} MiB in {name}" for name, size in report["mebibytes_per_patch"].items())
    print(f"kept for the backward pass, per patch: {kept}")


if __name__ == "__main__":
    main()
