"""What one model for a wide range of levels costs at the paper's levels: two equal runs for each task.

    python scripts/benchmarks/levels.py DATA [--task sr] [--steps 3000] [--runs FOLDER]

Both runs go on from the task's fast weights with the same seed, rate and number of steps; one draws its levels as the
published weights' recipe does, the other from the paper's alone. Both are scored on training images that were held out,
at the paper's levels, by their averaged networks. The difference says what a model for the paper's levels alone would
gain in as many steps; DATA holds the training images. Runs that are interrupted go on.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from msrn.cli.console import say
from msrn.network import weights
from msrn.training import checkpoint, recipe_file
from msrn.training.held_out import restorer_of
from msrn.training.loader import load_material
from msrn.training.recipe import Recipe
from msrn.training.setting import Computing
from msrn.training.trainer import fit

PAPERS = {"sr": "[2, 3, 4]", "denoise": "[30, 70]", "jpeg": "[10, 20]"}
"""What is drawn: scales, or the lowest and highest σ or quality."""
SCORED = {"sr": "[2, 3, 4]", "denoise": "[30, 50, 70]", "jpeg": "[10, 20]"}


def plan(task: str, papers: bool, steps: int) -> Recipe:
    """The recipe of one of the two runs."""
    changes = {
        "seed": 81,
        "evaluate_every": steps,
        "data.validation_levels": SCORED[task],
        "optimiser.rate": 1e-3,
        "optimiser.steps": steps,
        "optimiser.decay_steps": steps - steps // 15,
        "optimiser.warmup_steps": steps // 30,
        "optimiser.freeze_batchnorm_step": 0,
        "optimiser.ema_decay": 0.99,
    }
    if papers:
        changes["data.levels"] = PAPERS[task]
    return recipe_file.load(Path(f"{task}_s2"), [f"{key}={value}" for key, value in changes.items()])


def scores(task: str, papers: bool, options: argparse.Namespace) -> dict[str, float]:
    """Train one of the two runs and score what it ends with."""
    recipe = plan(task, papers, options.steps)
    folder = options.runs / f"{task}-{'papers' if papers else 'all'}-{options.steps}"
    begun = checkpoint.latest(folder) is not None
    run = fit(
        recipe,
        options.data,
        folder,
        Computing("cpu", options.precision, options.compile),
        resume=begun,
        initial=None if begun else weights.load(task),
    )
    material = load_material(recipe, options.data, torch.device("cpu"))
    return material.held_out.score(restorer_of(run.average))


def main() -> None:
    """Parse, train what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--task", choices=list(PAPERS), action="append", help="may be repeated; all by default")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--runs", type=Path, default=Path("runs/levels"))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for task in options.task or PAPERS:
        found[task] = {name: scores(task, name == "papers", options) for name in ("all", "papers")}
        say(f"{task}: {found[task]}")
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print("| level | all levels | the paper's alone | cost of the width |\n|---|---|---|---|")
    for task, both in found.items():
        for level, wide in both["all"].items():
            narrow = both["papers"][level]
            print(f"| {task} {level} | {wide:.3f} | {narrow:.3f} | {narrow - wide:+.3f} dB |")


if __name__ == "__main__":
    main()
