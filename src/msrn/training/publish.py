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
from msrn.network.memnet import arrays_of
from msrn.network.weights import Card, Weights, halve, load_file, save
from msrn.restoration.restorer import Restorer
from msrn.system.machine import processor
from msrn.training import checkpoint
from msrn.training.calibrate import measure
from msrn.training.recipe_file import validate
from msrn.training.state import read_run
from msrn.types import Task

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
    weights = load_file(run) if run.suffix == ".safetensors" else _trained(run)
    if half and (rounded := halve(weights)) is not weights:  # what was measured before is another network's
        weights = replace(rounded, card=replace(weights.card, ranges={}, losses={}, scores={}))
    if licence is not None:
        weights = _with(weights, licence=licence)
    recipe = validate(weights.card.recipe, f"of {run}")
    for level in levels:
        check_level(recipe.task, level)
    if data_root is not None:
        lower = measure(weights, recipe, data_root)
        weights = _with(weights, ranges=lower.ranges, losses=lower.losses)
    if scores_on:
        weights = _with(weights, scores=_scores(weights, recipe.task, scores_on, levels))
    card = weights.card
    task = f"{recipe.task}-color" if card.config.in_channels == 3 else recipe.task
    named = re.fullmatch(rf"MSRN_.*_{task}-(.+)-[0-9a-f]{{8}}", run.stem)  # published before
    data_name = data_name or (named[1] if named else "+".join(recipe.data.folders))
    plain = re.sub(r"[^\w.+-]+", "_", data_name)  # a folder of folders, or an address
    return save(weights, folder, f"MSRN_{card.config.shape}_{task}-{plain}"), card


def curve(run: Path, last: int) -> list[list[Any]]:
    """Return held-out scores on the way to a step, ``[step, hours, {level: dB}]`` each, at most 60 of them."""
    points: list[list[Any]] = []
    with suppress(OSError), (run / "log.jsonl").open(encoding="utf-8") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                row = json.loads(line)
                scores = {level: round(value, 3) for level, value in row["scores"].items()}
                points.append([row["step"], round(row["seconds"] / 3600, 4), scores])
    points = [point for point in points if point[0] <= last]
    # Thinned from the end, which is the step that is published.
    return points[:: -max(1, -(-len(points) // _POINTS))][::-1]


def revision(file: Path = Path(__file__)) -> str:
    """Return the git revision that a file is part of; empty where it is installed, even into another project's tree."""

    def git(*command: str) -> str:
        run = subprocess.run(["git", *command], cwd=file.parent, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("rev-parse", "--short=12", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _with(weights: Weights, **changes: Any) -> Weights:
    return replace(weights, card=replace(weights.card, **changes))


def _scores(weights: Weights, task: Task, folders: Sequence[Path], levels: Sequence[float]) -> dict[str, Any]:
    """The card's scores and more: by set and level, the means of what is restored and of the degraded input."""
    method = WeightsMethod(Restorer(weights, device="cpu", backend="eager", precision="fp32"))
    color = weights.card.config.in_channels == 3
    scores: dict[str, Any] = {data: dict(known) for data, known in weights.card.scores.items()}
    for folder in folders:
        for level in levels:
            result = evaluate(task, level, folder, method, color=color)
            means = {"mean": result.mean, "baseline": result.baseline}
            scores.setdefault(result.data, {})[f"{level:g}"] = {
                kind: {name: round(value, 4) for name, value in mean.named().items()} for kind, mean in means.items()
            }
    return scores


def _trained(run: Path) -> Weights:
    """The averaged network of a run, with a card of what is known of it."""
    best = checkpoint.best_of(run)
    path = best if best.is_file() else checkpoint.latest(run) if run.is_dir() else run
    if path is None:
        raise WeightsError(f"{run} holds no checkpoint")
    made = read_run(path)
    recipe, network = made.recipe, made.average
    if not made.is_grown:
        raise WeightsError(f"{run} has not grown to {recipe.network.recursions} recursions yet; go on training")
    told = {"began_with": made.origin, "precision": made.precision}
    training: dict[str, Any] = {
        "steps": made.step,
        "patches": made.step * recipe.optimiser.batch,
        "hours": round(made.seconds / 3600, 2),
        "processor": processor(),
        **{key: value for key, value in told.items() if value},
        "curve": curve(path.parent, made.step),
    }
    card = Card(
        task=recipe.task,
        config=network.config,
        luminance=recipe.data.luminance,
        levels=recipe.data.levels,
        data=", ".join(recipe.data.folders),
        licence="Apache-2.0",
        recipe=recipe.model_dump(mode="json"),
        training=training,
        commit=revision(),
    )
    return Weights(card, arrays_of(network), recipe.name)
