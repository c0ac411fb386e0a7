"""The page of weights on the hub, made from what their file says: front matter, a table, scores, how to use them."""

import json
from typing import Any

from msrn.network.weights import Weights
from msrn.types import Task

_MADE_FOR: dict[Task, str] = {
    "sr": "Enlarges pictures that were reduced.",
    "denoise": "Removes white Gaussian noise.",
    "jpeg": "Removes JPEG artifacts.",
    "photo": "Removes noise and JPEG artifacts from photographs.",
    "photo-sr": "Enlarges photographs and removes their noise and JPEG artifacts.",
}
_LEVELS: dict[Task, str] = {"sr": "×", "photo-sr": "×", "denoise": "σ ", "photo": "σ ", "jpeg": "quality "}
_LICENCES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0"}
"""Names that the hub knows; any other becomes ``other``."""


def card_page(weights: Weights, name: str) -> str:
    """The page, Markdown with the front matter that the hub reads; ``name`` is the repository's."""
    card, network = weights.card, weights.card.config
    rows = {
        "Task": f"{card.task}, trained for {', '.join(_LEVELS[card.task] + f'{level:g}' for level in card.levels)}",
        "Network": f"{network.shape}, {network.in_channels} channel{'s' if network.in_channels > 1 else ''}, "
        f"{network.multiply_adds_per_pixel:,} multiply-adds per pixel",
        "Trained on": card.data or "unknown",
        "Licence": card.licence,
        "SHA-256": f"`{weights.sha256}`",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"""---
{_front_matter(weights, name)}
---

# {name.rpartition("/")[2]}

{_MADE_FOR[card.task]} Weights of the persistent memory network (MemNet, ICCV 2017), for MSRN-PyTorch.

| | |
|---|---|
{table}

## How to use it

```python
import msrn
from msrn.network import hub

weights = hub.from_pretrained(
    "{name}",
    sha256="{weights.sha256}",
)
restored = msrn.Restorer(weights)(msrn.read("photo.png"){", scale=2" if card.task.endswith("sr") else ""})
msrn.write(restored, "restored.png")
```

`msrn.MSRN.from_pretrained` takes the same arguments and returns the module of PyTorch.
{_scores(weights)}
## Limits

Whatever training did not show stays as it is, or is taken for damage. Nothing is invented: what the picture does not
hold does not appear.
"""


def _front_matter(weights: Weights, name: str) -> str:
    """YAML; each value is written as JSON, which is YAML too, so that no value can add a key."""
    card = weights.card
    licence = card.licence.lower()
    matter: dict[str, Any] = {
        "license": licence if licence in _LICENCES else "other",
        **({} if licence in _LICENCES else {"license_name": card.licence}),
        "library_name": "msrn-pytorch",
        "pipeline_tag": "image-to-image",
        "tags": ["image-restoration", "memnet", "msrn", card.task],
        "metrics": ["psnr", "ssim"],
    }
    results = [
        {
            "task": {"type": "image-to-image", "name": card.task},
            "dataset": {"type": data, "name": f"{data}, {_LEVELS[card.task]}{level}"},
            "metrics": [{"type": kind, "value": round(float(scores["mean"][kind]), 4)} for kind in ("psnr", "ssim")],
        }
        for data, levels in card.scores.items()
        for level, scores in levels.items()
    ]
    if results:
        matter["model-index"] = [{"name": name, "results": results}]
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in matter.items())


def _scores(weights: Weights) -> str:
    rows = [
        f"| {data} | {_LEVELS[weights.card.task]}{level} | {_told(scores['baseline'])} | {_told(scores['mean'])} |"
        for data, levels in weights.card.scores.items()
        for level, scores in levels.items()
    ]
    if not rows:
        return "\nNot scored on any published set.\n"
    head = "| images | level | degraded | restored |\n|---|---|---|---|\n"
    return "\n## Scores\n\nPSNR in dB / SSIM, as `msrn evaluate` prints them.\n\n" + head + "\n".join(rows) + "\n"


def _told(scores: dict[str, float]) -> str:
    return f"{scores['psnr']:.2f} / {scores['ssim']:.4f}"
