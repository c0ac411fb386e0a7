"""A package for darktable's neural restore (``.dtmodel``, darktable 5.6): an archive with one folder, named by its id.

The folder holds ``config.json``, by which darktable finds it, image-level networks (``model.onnx``; for enlarging
``model_x2.onnx`` and ``model_x4.onnx``, the two that darktable asks for), and ``README.md``, the card: licence, where
the training images come from, and what is known not to work. darktable knows two tasks for them, ``denoise`` (pictures
that keep their size, so JPEG artifacts too) and ``upscale``.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from msrn.network.weights import Weights
from msrn.restoration.export.about import color_rule, input_halo, provenance
from msrn.restoration.export.onnx_image import checked_model
from msrn.system.atomic import write_atomically
from msrn.types import ENLARGING

_OVERLAP = {"upscale": 16, "denoise": 64}
"""How far darktable's tiles overlap, in pixels of the input."""
_SAYS = {
    "sr": "Enlarges by 2 and 4; trained to come near the lost pixels, not to look sharp",
    "denoise": "Removes noise, blind",
    "jpeg": "Removes JPEG artifacts, blind",
    "photo": "Removes noise and JPEG artifacts, blind",
    "photo-sr": "Removes noise and JPEG artifacts, blind, and enlarges by 2 and 4",
}
_WHEN = (1980, 1, 1, 0, 0, 0)
"""The date of all files in the archive: the same weights give the same package."""


def export(weights: Weights, path: Path, *, tolerance: float) -> float:
    """See :func:`msrn.restoration.export.export`."""
    scales = {"model_x2.onnx": 2.0, "model_x4.onnx": 4.0} if weights.card.task in ENLARGING else {"model.onnx": 1.0}
    models = {file: checked_model(weights, scale, tolerance) for file, scale in scales.items()}
    config = described(weights)
    files: dict[str, bytes] = {
        "config.json": (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode(),
        "README.md": _page(weights, config, scales).encode(),
        **{file: data for file, (data, _) in models.items()},
    }
    write_atomically(path, lambda file: _pack(file, config["id"], files))
    return max(worst for _, worst in models.values())


def described(weights: Weights) -> dict[str, Any]:
    """What ``config.json`` says; attributes are for people, darktable passes over those that it does not know."""
    card = weights.card
    task = "upscale" if card.task in ENLARGING else "denoise"
    kind = {"sr": "", "denoise": "", "jpeg": "-jpeg", "photo": "-photo", "photo-sr": "-photo"}[card.task]
    color = "-color" if card.config.in_channels == 3 and not card.task.startswith("photo") else ""
    shape = card.config.shape.lower()
    return {
        "id": f"{task}-msrn-{shape}{kind}{color}",
        "name": f"{task} msrn {shape}{kind}{color}".replace("-", " "),
        "description": f"{_SAYS[card.task]} (MSRN, persistent memory network, {weights.name})",
        "task": task,
        "arch": "msrn",
        "backend": "onnx",
        "version": "1.0",
        "tiling": True,
        "num_inputs": 1,
        "attributes": {
            "sha256": weights.sha256,
            "licence": card.licence,
            "trained_on": card.data,
            "color_rule": color_rule(weights),
            "color_space": "sRGB",
        },
    }


def _page(weights: Weights, config: Mapping[str, Any], scales: Mapping[str, float]) -> str:
    """The card, with the points that darktable asks of models."""
    card, network = weights.card, weights.card.config
    needed = max(input_halo(network, card.task, scale) for scale in scales.values())
    overlap = _OVERLAP[str(config["task"])]
    seams = "tiles give what the whole picture would" if needed <= overlap else f"tiles should overlap by {needed}"
    levels = ", ".join(dict.fromkeys(f"{level:g}" for level in card.levels))
    rows = {
        "Model license": card.licence,
        "OSAID v1.0": "Open Weights: code, recipe and weights are open; not all training images state a licence",
        "MOF": "Class III (Open Model)",
        "Architecture": f"MSRN {network.shape}, {network.multiply_adds_per_pixel:,} multiply-adds per pixel",
        "Trained for": f"{card.task}, levels {levels}",
        "Training data license": provenance(weights),
        "Training data provenance": "the recipe below says everything that was done to them",
        "Training code": "MSRN-PyTorch, Apache-2.0",
        "Published research": "Tai, Yang, Liu, Xu: MemNet, ICCV 2017 (arXiv 1708.02209)",
        "Known limitations": "blur, scratches and other damage stay; enlarging by more than 4 is little use",
        "Inference": "Local only, no cloud dependencies",
        "Scope": f"{_SAYS[card.task]}; photographs",
        "Reproducibility": "Full pipeline: the recipe on the same images gives the same weights, msrn export this file",
        "Colour": color_rule(weights),
        "Tiles": f"darktable's overlap of {overlap} pixels is enough: {seams}" if needed <= overlap else seams,
        "SHA-256 of the weights": weights.sha256 or "not from a file",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    files = "\n".join(
        f"| `{file}` | `input` float32 [n, 3, H, W], sRGB in [0, 1] | `output` float32, ×{scale:g} |"
        for file, scale in scales.items()
    )
    recipe = json.dumps(card.recipe, indent=2, ensure_ascii=False)
    return (
        f"# {config['name']}\n\n{config['description']}.\n\n| property | |\n|---|---|\n{table}\n\n"
        f"| file | input | output |\n|---|---|---|\n{files}\n\n## Recipe\n\n```json\n{recipe}\n```\n"
    )


def _pack(file: BinaryIO, folder: str, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(f"{folder}/{name}", _WHEN)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
