"""Write the README's table of scores from the cards of the embedded weights; `--check` only compares.

python docs/update_readme.py [--check]
"""

import sys
from pathlib import Path

from msrn import weights

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- scores: written by docs/update_readme.py -->\n", "<!-- end of scores -->\n"
LEVEL = {"sr": "×{}", "denoise": "σ {}", "jpeg": "quality {}"}


def table() -> str:
    """Return one row per embedded file, data set and level."""
    lines = ["| weights | images | level | degraded | restored |", "|---|---|---|---|---|"]
    for entry in weights.CATALOGUE:
        for data, levels in weights.load(entry.name).card.scores.items():
            for level, scores in levels.items():
                before, after = (f"{s['psnr']:.2f} / {s['ssim']:.4f}" for s in (scores["baseline"], scores["mean"]))
                row = (f"`{entry.name}`", data, LEVEL[entry.task].format(level), before, f"**{after}**")
                lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """Return the README with its table replaced."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    current = README.read_text(encoding="utf-8")
    wanted = updated(current)
    if "--check" in sys.argv[1:]:
        sys.exit("README.md is out of date: run python docs/update_readme.py" if wanted != current else 0)
    README.write_text(wanted, encoding="utf-8")
