"""What an exported file says of itself."""

import json
import math
from dataclasses import asdict
from typing import Any

from msrn.network.config import MSRNConfig
from msrn.network.weights import Weights
from msrn.types import ENLARGING, Task

_COLORS: dict[Task, str] = {
    "sr": "Y restored; Cb and Cr enlarged bicubically, along with what was added to Y",
    "denoise": "Y, Cb and Cr restored, each alone",
    "jpeg": "Y restored; Cb and Cr restored at half size, and only what changed there added",
    "photo": "R, G and B restored together",
    "photo-sr": "R, G and B restored together",
}
_SETS = {
    "t91": "91 images (Yang et al., 2010), no licence stated",
    "bsd200": "the 200 training images of BSDS300 (Martin et al., 2001), non-commercial research and education",
    "photos14": "14 photographs of free desktops' backgrounds, CC BY, CC BY-SA or CC0",
}


def provenance(weights: Weights) -> str:
    """Where the training images come from, and their licences as far as their authors state any."""
    names = [name.strip() for name in weights.card.data.split(",") if name.strip()]
    return "; ".join(f"{name}: {_SETS.get(name, 'not documented here')}" for name in names) or "unknown"


def color_rule(weights: Weights) -> str:
    """Which planes of a picture with colours the network restores (see ``colors.py``)."""
    return _COLORS["photo" if weights.card.config.in_channels == 3 else weights.card.task]


def input_halo(config: MSRNConfig, task: Task, scale: float) -> int:
    """How many pixels around a tile of the input decide its result, where enlargement and colour rule are inside."""
    if task in ENLARGING:
        # The bicubic kernel reaches two further, and chroma one more.
        return max(math.ceil(config.receptive_radius / scale) + 2, 3)
    halved = task == "jpeg" and config.in_channels == 1
    return 2 * config.receptive_radius + 2 * 2 + 4 if halved else config.receptive_radius


def facts(weights: Weights, **more: object) -> dict[str, str]:
    """Names and values for the metadata of a file with the network alone; an image's has ``scale``, too."""
    card: dict[str, Any] = asdict(weights.card)
    card["training"].pop("curve", None)
    config = weights.card.config
    sees = "RGB" if config.in_channels == 3 else f"luminance, {weights.card.luminance} range"
    said = {
        "weights": weights.name,
        "sha256": weights.sha256,
        "task": weights.card.task,
        "input": sees,
        "color_rule": color_rule(weights),
        "scale": "1",
        "halo": config.receptive_radius,
        "licence": weights.card.licence,
        "trained_on": weights.card.data,
        "card": json.dumps(card),
    }
    return {name: str(value) for name, value in (said | more).items()}
