"""Draw PSNR on held-out images against training time, for the runs that matter: docs/images/curves.svg.

    python scripts/documentation/update_curves.py                               from docs/results/curves.json
    python scripts/documentation/update_curves.py runs/sr_s2 runs/sr_m4r4s2=sr_s2  add runs, one after another

A run that goes on from another's weights starts at that one's hours. Hours are wall-clock, with other work beside it.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msrn.evaluation.plots import LINE, draw_svg

ROOT = Path(__file__).parents[2]
KEPT, PICTURE = ROOT / "docs" / "results" / "curves.json", ROOT / "docs" / "images" / "curves.svg"
SHOWN = {"sr": ("super-resolution ×3", "3"), "denoise": ("noise σ 50", "50"), "jpeg": ("JPEG quality 10", "10")}
COLOURS = (
    *("#1769aa", "#b3541e", "#2e7d32", "#6a1b9a", "#455a64", "#ad1457", "#00838f"),
    *("#9e9d24", "#5d4037", "#212121", "#e65100"),
)
WIDTH, HEIGHT = 8.0, 3.1
"""Of a panel, in inches."""
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


def curves(panels: dict[str, Lines]) -> bytes:
    """Panels below each other as one SVG picture, a line for each label: dB over hours."""

    def draw(figure: Figure) -> None:
        edge = 0.3 / HEIGHT / len(panels)
        longest = max(len(label) for lines in panels.values() for label in lines) + len(": 00.00")
        figure.subplots_adjust(0.07, edge, 0.96 - 0.0095 * longest, 1 - edge, hspace=0.25)
        for number, (title, lines) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(len(panels), 1, number, frameon=False)
            axes.set_title(title, loc="left", fontweight="bold")
            axes.grid(axis="y", color=LINE)
            axes.tick_params(length=0)
            axes.xaxis.set_major_formatter("{x:g} h")
            ends: list[tuple[float, float, str, str]] = []
            for (label, points), colour in zip(lines.items(), COLOURS, strict=False):
                axes.plot([x for x, _ in points], [y for _, y in points], color=colour, linewidth=1.5)
                ends.append((*points[-1], f"{label}: {points[-1][1]:.2f}", colour))
            axes.margins(x=0.01)
            label_at_right(axes, ends, LINE)

    return draw_svg(draw, WIDTH, HEIGHT * len(panels), transparent=False)


def label_at_right(axes: Axes, points: Sequence[tuple[float, float, str, str]], line: str) -> None:
    """Write labels beside the axes, each as near its point's height as the others let it, with a line to the point.

    The axes have their final limits; a point is its place across, its height, its label and that one's colour.
    """
    figure: Any = axes.figure
    height = axes.get_position().height * figure.get_figheight() * 72
    low, high = axes.get_ylim()
    points = sorted(points, key=lambda point: point[1])
    places = spread([(value - low) / (high - low) * height for _, value, _, _ in points], 12, height)
    arrow = {"arrowstyle": "-", "relpos": (0, 0.5), "color": line, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 3}
    way: Any = {"textcoords": "axes fraction", "verticalalignment": "center", "annotation_clip": False}
    for (x, y, label, colour), place in zip(points, places, strict=True):
        axes.annotate(label, (x, y), (1.04, place / height), color=colour, arrowprops=arrow, **way)


def spread(wanted: Sequence[float], gap: float, height: float) -> list[float]:
    """Places as near the wanted ones as possible, at least ``gap`` apart, below ``height`` where there is room.

    >>> spread([1, 2, 50], 10, 100)
    [1, 11, 50]
    """
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap) if places else place)
    ceiling = height
    for index in reversed(range(len(places))):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return places


def main() -> None:
    """Add the runs that are named, and draw."""
    known = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    for argument in sys.argv[1:]:
        run, _, after = argument.partition("=")
        add(Path(run), after, known)
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(run)}" for name, run in known.items())
    KEPT.write_text("{\n" + rows + "\n}\n", encoding="utf-8")
    panels = {title: lines_of(task, level, known) for task, (title, level) in SHOWN.items()}
    PICTURE.write_bytes(curves({title: lines for title, lines in panels.items() if lines}))


if __name__ == "__main__":
    main()
