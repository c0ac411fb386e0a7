"""Checkpoint -> weights file: the averaged network, with a card that says where it comes from and what it scores."""

import platform
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from msrn import checkpoint
from msrn.engine import Restorer
from msrn.errors import WeightsError
from msrn.evaluate import evaluate
from msrn.methods import WeightsMethod
from msrn.recipe import Recipe
from msrn.run import is_grown, read_run
from msrn.weights import Card, Weights, save


def publish(
    run: Path,
    folder: Path,
    *,
    data_name: str = "",
    licence: str = "Apache-2.0",
    scores_on: Sequence[Path] = (),
    levels: Sequence[float] = (),
) -> tuple[Path, Card]:
    """Write the averaged network of a run (its newest checkpoint) as a weights file.

    Args:
        run: a run folder or one checkpoint file.
        folder: receives ``MSRN_<shape>_<task>-<data>-<hash>.safetensors``.
        data_name: what to call the training data in the file's name; by default the recipe's folders.
        licence: of the weights.
        scores_on: folders of clean images to score on, one row each.
        levels: at which levels.

    Raises:
        WeightsError: no checkpoint, or a damaged one.
        OutputError: the file cannot be written.
    """
    path = checkpoint.latest(run) if run.is_dir() else run
    if path is None:
        raise WeightsError(f"{run} holds no checkpoint")
    recipe, state = read_run(path)
    network = state.average.eval()
    if not is_grown(state, recipe):
        raise WeightsError(f"{run} has not grown to {recipe.network.recursions} recursions yet; go on training")
    card = Card(
        task=recipe.task,
        config=network.config,
        luminance=recipe.data.luminance,
        levels=recipe.data.levels,
        data=", ".join(recipe.data.folders),
        licence=licence,
        recipe=recipe.model_dump(mode="json"),
        training=_training(recipe, state.step, state.seconds),
        commit=_commit(),
    )
    restorer = Restorer(Weights(network.requires_grad_(False), card, "", recipe.name), device="cpu", precision="fp32")
    scores: dict[str, Any] = {}
    for data in scores_on:
        for level in levels:
            result = evaluate(recipe.task, level, data, WeightsMethod(restorer))
            scores.setdefault(data.name, {})[f"{level:g}"] = {
                key: {name: round(value, 4) for name, value in result[key].items()} for key in ("mean", "baseline")
            }
    card = replace(card, scores=scores)
    shape = f"{card.config.name}C{card.config.channels}"
    stem = f"MSRN_{shape}_{recipe.task}-{data_name or '+'.join(recipe.data.folders)}"
    return save(network, card, folder, stem), card


def _training(recipe: Recipe, steps: int, seconds: float) -> dict[str, Any]:
    return {
        "steps": steps,
        "patches": steps * recipe.optimiser.batch,
        "hours": round(seconds / 3600, 2),
        "processor": _processor(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Revision of the working tree this runs from, or nothing when installed from a wheel."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()
