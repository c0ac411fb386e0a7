"""Draw PSNR on held-out images against training time, for the runs that matter: docs/images/curves.svg.

    python scripts/documentation/update_curves.py                               from docs/results/curves.json
    python scripts/documentation/update_curves.py runs/sr_s2 runs/sr_m4r4s2=sr_s2  add runs, one after another

A run that goes on from another's weights starts at that one's hours. Hours are wall-clock, with other work beside it.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KEPT, PICTURE = ROOT / "docs" / "results" / "curves.json", ROOT / "docs" / "images" / "curves.svg"
SHOWN = {"sr": ("super-resolution ×3", "3"), "denoise": ("noise σ 50", "50"), "jpeg": ("JPEG quality 10", "10")}
COLOURS = (
    *("#1769aa", "#b3541e", "#2e7d32", "#6a1b9a", "#455a64", "#ad1457", "#00838f"),
    *("#9e9d24", "#5d4037", "#212121", "#e65100"),
)
WIDTH, HEIGHT = 700, 290
Lines = dict[str, list[tuple[float, float]]]


def add(run: Path, after: str, known: dict[str, Any]) -> None:
    """Keep a run's held-out scores."""
    recipe = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    recipe = recipe.get("recipe", recipe)
    network, points = recipe["network"], []
    for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "scores" in row:
            scores = {level: round(value, 3) for level, value in row["scores"].items()}
            points.append([row["step"], round(row["seconds"] / 3600, 4), scores])
    squares = f"S{network['unshuffle']}" if network.get("unshuffle", 1) > 1 else ""
    shape = f"M{network['memory_blocks']}R{network['recursions']}C{network['channels']}{squares}"
    known[run.name] = {"task": recipe["task"], "shape": shape, "after": after, "points": points[1:]}


def lines_of(task: str, level: str, known: dict[str, Any]) -> Lines:
    """Every run of a task at one level, hours from the first ancestor's start."""
    lines: Lines = {}
    for name, run in known.items():
        if run["task"] != task:
            continue
        start, ancestor = 0.0, run["after"]
        while ancestor:
            start, ancestor = start + known[ancestor]["points"][-1][1], known[ancestor]["after"]
        lines[f"{run['shape']} ({name})"] = [(start + p[1], p[2][level]) for p in run["points"] if level in p[2]]
    return {label: points for label, points in lines.items() if points}


def panel(lines: Lines, top: float = 0, title: str = "") -> str:
    """One plot as SVG elements, a line for each label; values are dB over hours."""
    left, right, upper, bottom = 48, 560, top + 26, top + HEIGHT - 30
    values = [y for line in lines.values() for _, y in line]
    spread = max(values) - min(values)
    step = next((step for step in (0.1, 0.2, 0.5, 1, 2, 5) if spread / step <= 8), 10)
    low, high = math.floor(min(values) / step) * step, (math.floor(max(values) / step) + 1) * step
    last = max(x for line in lines.values() for x, _ in line) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / last * (right - left), bottom - (y - low) / (high - low) * (bottom - upper)

    parts = [f'<text x="{left}" y="{top + 14}" font-weight="bold">{title}</text>'] if title else []
    for index in range(round((high - low) / step) + 1):
        value = low + index * step
        y = place(0, value)[1]
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#ccc"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.{0 if step >= 1 else 1}f}</text>')
    for quarter in range(5):
        x = place(last * quarter / 4, low)[0]
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{last * quarter / 4:.2f} h</text>')
    taken: list[float] = []
    for (label, line), colour in sorted(zip(lines.items(), COLOURS, strict=False), key=lambda each: -each[0][1][-1][1]):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = max([place(*line[-1])[1] + 4, *(other + 14 for other in taken)])
        taken = [y]
        parts.append(f'<text x="{right + 6}" y="{y:.1f}" fill="{colour}">{label}: {line[-1][1]:.2f}</text>')
    return "".join(parts)


def svg(panels: list[str]) -> str:
    """Panels below each other as one picture."""
    style = 'font-family="sans-serif" font-size="12"'
    size = f'viewBox="0 0 {WIDTH + 60} {HEIGHT * len(panels)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(panels)}</svg>\n'


def main() -> None:
    """Add the runs that are named, and draw."""
    known = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    for argument in sys.argv[1:]:
        run, _, after = argument.partition("=")
        add(Path(run), after, known)
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(run)}" for name, run in known.items())
    KEPT.write_text("{\n" + rows + "\n}\n", encoding="utf-8")
    drawn = [(title, lines_of(task, level, known)) for task, (title, level) in SHOWN.items()]
    drawn = [(title, lines) for title, lines in drawn if lines]
    PICTURE.write_text(
        svg([panel(lines, HEIGHT * k, title) for k, (title, lines) in enumerate(drawn)]), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
