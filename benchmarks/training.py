"""Training throughput against a plain loop: the same network, batch and optimiser, eager, fp32, default layout.

    python benchmarks/training.py RECIPE --data-root DATA [--set KEY=VALUE] [--rounds 5] [--json]

Every variant makes one step per round, in turn, so that whatever else the machine does hits all of them; medians count.
Prints the ratios, the share of a step spent on drawing and degrading patches, and the activations kept per patch.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from msrn import recipe as recipes
from msrn.distributed import World
from msrn.feed import Feed, Pairs, load_material
from msrn.machine import has_bf16
from msrn.network import MSRN
from msrn.objective import objective
from msrn.recipe import Recipe
from msrn.run import Setting, choose_training_precision, network_config, start
from msrn.train import train_step


@dataclass
class Variant:
    """One way to make a step."""

    name: str
    step: Callable[[Pairs], object]
    seconds: list[float]


def plain(recipe: Recipe) -> Callable[[Pairs], object]:
    """The loop that anyone would write first."""
    network = start(recipe, None, Setting()).network.to(memory_format=torch.contiguous_format).train()
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
    setting = Setting(precision=precision)
    run = start(recipe, None, setting)
    forward = torch.compile(run.network.all_outputs) if compiled else run.network.all_outputs
    return lambda parts: train_step(run, forward, parts, recipe, setting, 1e-6)


def bytes_per_patch(recipe: Recipe, precision: torch.dtype) -> float:
    """What the forward pass keeps for the backward pass, counted once per storage."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    network = MSRN(network_config(recipe.network)).train()
    if has_bf16():
        network = network.to(memory_format=torch.channels_last)
    patches = torch.rand(2, recipe.network.in_channels, recipe.data.patch, recipe.data.patch)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32),
    ):
        outputs = network.all_outputs(patches)
    del outputs
    return sum(kept.values()) / len(patches)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    recipe = recipes.load(options.recipe, [*options.set, "data.resident=false"])
    recipe = recipe.model_copy(update={"growth": None})
    device = torch.device("cpu")
    feed = Feed(load_material(recipe, options.data_root, device), recipe, World(), device)
    automatic = choose_training_precision(device, "auto")
    variants = [
        Variant("plain loop", plain(recipe), []),
        Variant("msrn train", ours(recipe, automatic, compiled=False), []),
        Variant("msrn train --compile", ours(recipe, automatic, compiled=True), []),
    ]
    drawing: list[float] = []
    for number in range(1 + options.rounds):
        begun = time.perf_counter()
        parts = feed.parts(number)
        drawing.append(time.perf_counter() - begun)
        for variant in variants:
            begun = time.perf_counter()
            variant.step(parts)
            if number:  # the first compiles and warms up
                variant.seconds.append(time.perf_counter() - begun)
    medians = {variant.name: statistics.median(variant.seconds) for variant in variants}
    draw = statistics.median(drawing)
    base = draw + medians["plain loop"]
    rows = {
        name: {
            "patches_per_second": recipe.optimiser.batch / (draw + seconds),
            "ratio": base / (draw + seconds),
            "data_share": draw / (draw + seconds),
        }
        for name, seconds in medians.items()
    }
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
    print(f"{report['network']}, batch {report['batch']} of {report['patch']}×{report['patch']}, {report['precision']}")
    print("| loop | patches/s | against plain | data |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['patches_per_second']:.1f} | {row['ratio']:.2f}× | {row['data_share']:.1%} |")
    kept = ", ".join(f"{size:.1f} MiB in {name}" for name, size in report["mebibytes_per_patch"].items())
    print(f"kept for the backward pass, per patch: {kept}")


if __name__ == "__main__":
    main()
