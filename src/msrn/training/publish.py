"""Checkpoint -> weights file: the averaged network, with a card that says where it comes from and what it scores."""

import json
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from msrn.errors import UsageError, WeightsError
from msrn.evaluation.methods import WeightsMethod
from msrn.evaluation.protocol import check_level, evaluate
from msrn.network.memnet import MSRN
from msrn.network.weights import Card, Weights, halve, load_file, save
from msrn.restoration.restorer import Restorer
from msrn.system.machine import processor
from msrn.training import checkpoint
from msrn.training.calibrate import measure
from msrn.training.recipe import Recipe, validate
from msrn.training.state import Run, is_grown, read_run

_POINTS = 60
"""Of a curve."""


def publish(
    run: Path,
    folder: Path,
    *,
    data_root: Path | None = None,
    data_name: str = "",
    licence: str | None = None,
    scores_on: Sequence[Path] = (),
    levels: Sequence[float] = (),
    half: bool = False,
) -> tuple[Path, Card]:
    """Write the averaged network of a run as a weights file.

    Args:
        run: a run folder, of which the checkpoint with the best held-out score is taken, one checkpoint file, or a
            weights file, whose card is then completed.
        folder: receives ``MSRN_<shape>_<task>-<data>-<hash>.safetensors``, ``<task>-color`` for three channels.
        data_root: where the recipe's images are; with it, the 8-bit ranges are chosen, and what bf16 and int8 cost is
            measured, without which ``--precision auto`` takes none of them.
        data_name: what to call the training data in the file's name; by default the recipe's folders.
        licence: of the weights; Apache-2.0 by default, or what a weights file says.
        scores_on: folders of clean images to score on, one row each; R, G and B of networks with three channels.
        levels: at which levels.
        half: round the convolutions' weights to float16, which halves the file. Everything is measured after that.

    Raises:
        UsageError: folders without levels or levels without folders, or a level that the task does not know.
        WeightsError: no checkpoint, or a damaged one.
        OutputError: the file cannot be written.
    """
    if bool(scores_on) != bool(levels):
        raise UsageError("scores need folders of images and levels, both")
    network, card = _published(run) if run.suffix == ".safetensors" else _trained(run)
    if half and halve(network):
        card = replace(card, ranges={}, losses={}, scores={})  # what was measured before is another network's
    if licence is not None:
        card = replace(card, licence=licence)
    recipe = validate(card.recipe, f"of {run}")
    for level in levels:
        check_level(recipe.task, level)
    if data_root is not None:
        lower = measure(network, recipe, data_root)
        card = replace(card, ranges=lower.ranges, losses=lower.losses)
    scores: dict[str, Any] = dict(card.scores)
    restorer = Restorer(Weights(network, card, "", recipe.name), device="cpu", backend="eager", precision="fp32")
    in_color = card.config.in_channels == 3
    for data in scores_on:
        for level in levels:
            result = evaluate(recipe.task, level, data, WeightsMethod(restorer), color=in_color)
            scores.setdefault(result.data, {})[f"{level:g}"] = {
                key: {name: round(value, 4) for name, value in means.named().items()}
                for key, means in (("mean", result.mean), ("baseline", result.baseline))
            }
    card = replace(card, scores=scores)
    shape = card.config.shape
    task = f"{recipe.task}-color" if in_color else recipe.task
    named = re.fullmatch(rf"MSRN_.*_{task}-(.+)-[0-9a-f]{{8}}", run.stem)  # published before
    data_name = data_name or (named[1] if named else "+".join(recipe.data.folders))
    plain = re.sub(r"[^\w.+-]+", "_", data_name)  # a folder of folders, or an address
    return save(network, card, folder, f"MSRN_{shape}_{task}-{plain}"), card


def _published(path: Path) -> tuple[MSRN, Card]:
    weights = load_file(path)
    return weights.network, weights.card


def _trained(run: Path) -> tuple[MSRN, Card]:
    best = checkpoint.best_of(run)
    path = best if best.is_file() else checkpoint.latest(run) if run.is_dir() else run
    if path is None:
        raise WeightsError(f"{run} holds no checkpoint")
    recipe, state = read_run(path)
    network = state.average.eval().requires_grad_(False)
    if not is_grown(state, recipe):
        raise WeightsError(f"{run} has not grown to {recipe.network.recursions} recursions yet; go on training")
    return network, Card(
        task=recipe.task,
        config=network.config,
        luminance=recipe.data.luminance,
        levels=recipe.data.levels,
        data=", ".join(recipe.data.folders),
        licence="Apache-2.0",
        recipe=recipe.model_dump(mode="json"),
        training=_training(recipe, state) | {"curve": _curve(path.parent, state.step)},
        commit=_commit(),
    )


def _training(recipe: Recipe, run: Run) -> dict[str, Any]:
    told = {"began_with": run.origin, "precision": run.precision}
    return {
        "steps": run.step,
        "patches": run.step * recipe.optimiser.batch,
        "hours": round(run.seconds / 3600, 2),
        "processor": processor(),
        **{key: value for key, value in told.items() if value},
    }


def _curve(run: Path, last: int) -> list[list[Any]]:
    """Held-out scores on the way, ``[step, hours, {level: dB}]`` each, thinned; of grown networks' runs both parts."""
    points: list[list[Any]] = []
    with suppress(OSError), (run / "log.jsonl").open(encoding="utf-8") as file:
        for line in file:
            with suppress(ValueError, KeyError):
                row = json.loads(line)
                scores = {level: round(value, 3) for level, value in row["scores"].items()}
                points.append([row["step"], round(row["seconds"] / 3600, 4), scores])
    points = [point for point in points if point[0] <= last]
    # Thinned from the end, which is the step that is published.
    return points[:: -max(1, -(-len(points) // _POINTS))][::-1]


def _commit() -> str:
    """Revision of the working tree this runs from, or nothing when installed, even into another project's tree."""
    here = Path(__file__)

    def git(*command: str) -> str:
        run = subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        return git("rev-parse", "--short=12", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return ""
