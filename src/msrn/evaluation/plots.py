"""Plots for pages, drawn by matplotlib: pictures for light and for dark pages, the same for the same marks."""

import base64
import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from msrn.system.extras import missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["ours", "paper", "peer", "loss"]
"""What a mark stands for: measured here, the paper, another method, or a loss measured here."""


@dataclass(frozen=True)
class Theme:
    """The colours of a plot."""

    ink: str
    soft: str
    line: str
    marks: dict[Kind, str]


LIGHT = Theme(
    ink="#1b2330",
    soft="#5d6878",
    line="#dfe3ea",
    marks={"ours": "#2f6fde", "paper": "#e09a2b", "peer": "#b9c2cf", "loss": "#bb3a26"},
)
DARK = Theme(
    ink="#e6eaf1",
    soft="#97a3b4",
    line="#2d3644",
    marks={"ours": "#6ba0ff", "paper": "#f0b24c", "peer": "#566275", "loss": "#ff917d"},
)

_SETTINGS: Any = {  # matplotlib names the keys by a type of its own
    "svg.hashsalt": "msrn",  # the same names inside every time
    "svg.fonttype": "none",  # letters of every script, by the reader's fonts
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,  # a dollar in a file's name is a dollar
}
_WIDTH = 5.6
"""Inches; 72 points each."""
_LONGEST = 30
"""Letters of a label."""


@dataclass(frozen=True)
class Mark:
    """One bar or point."""

    label: str
    value: float
    """Length of the bar, or height of the point."""
    text: str
    """The value in words."""
    kind: Kind
    cost: float = math.nan
    """Position of the point, on a logarithmic axis."""


@dataclass(frozen=True)
class Plot:
    """A plot as a page embeds it."""

    title: str
    description: str
    """Every mark in words, for who cannot see the plot."""
    light: str
    """Address that holds the picture for light pages."""
    dark: str


def bars(title: str, marks: Sequence[Mark]) -> Plot:
    """Horizontal bars in the order given; a negative one points to the left."""

    def draw(figure: "Figure", theme: Theme) -> None:
        figure.set_layout_engine("constrained")
        axes = _bare_axes(figure, theme)
        places = range(len(marks))
        values = [mark.value if math.isfinite(mark.value) else 0.0 for mark in marks]
        drawn = axes.barh(places, values, 0.72, color=[theme.marks[mark.kind] for mark in marks])
        axes.bar_label(drawn, [mark.text for mark in marks], padding=4, color=theme.ink)
        axes.set_yticks(places, [shortened(mark.label) for mark in marks], color=theme.ink)
        axes.set_ylim(len(marks) - 0.4, -0.6)
        axes.set_xticks([])
        axes.margins(x=0.3)

    return _plot(title, [f"{mark.label}: {mark.text}" for mark in marks], draw, 0.2 + 0.24 * len(marks))


def scatter(title: str, marks: Sequence[Mark], unit: str) -> Plot:
    """Points over a logarithmic axis of cost; their labels stand at the right, a line leads to each."""

    def draw(figure: "Figure", theme: Theme) -> None:
        figure.subplots_adjust(0.09, 0.15, 0.55, 0.97)
        axes = _bare_axes(figure, theme)
        axes.set_xscale("log")
        axes.grid(color=theme.line, linewidth=0.8)
        axes.set_axisbelow(True)
        colours = [theme.marks[mark.kind] for mark in marks]
        axes.scatter([mark.cost for mark in marks], [mark.value for mark in marks], 36, colours, zorder=3)
        axes.set_xlabel(unit, color=theme.soft)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(0.12)
        points = [(m.cost, m.value, f"{shortened(m.label)}, {m.text}", theme.ink) for m in marks]
        label_at_right(axes, points, theme.soft)

    words = [f"{mark.label}: {mark.text} at {mark.cost:.3g} {unit}" for mark in marks]
    return _plot(title, words, draw, max(3.0, 0.8 + 0.19 * len(marks)))


def label_at_right(axes: "Axes", points: Sequence[tuple[float, float, str, str]], line: str, gap: float = 12) -> None:
    """Write labels beside the axes, each as near its point's height as the others let it, with a line to the point.

    Args:
        axes: with their final limits.
        points: place across, height, label and its colour.
        line: colour of the lines.
        gap: least distance of labels in points.
    """
    figure: Any = axes.figure
    height = axes.get_position().height * figure.get_figheight() * 72
    low, high = axes.get_ylim()
    points = sorted(points, key=lambda point: point[1])
    wanted = [(value - low) / (high - low) * height for _, value, _, _ in points]
    for (x, y, label, colour), place in zip(points, spread(wanted, gap, height), strict=True):
        axes.annotate(
            label,
            (x, y),
            (1.04, place / height),
            textcoords="axes fraction",
            color=colour,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": line,
                "linewidth": 0.5,
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )


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


def draw_svg(draw: Callable[["Figure"], None], width: float, height: float, *, transparent: bool = True) -> bytes:
    """A drawing as SVG, without a date: the same drawing gives the same bytes.

    Args:
        draw: what draws on the figure.
        width: in inches of 72 points.
        height: in inches.
        transparent: leave out the white ground.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing("drawing plots", "matplotlib", "train") from error
    file = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that its own font lacks: the reader's fonts have them
        figure = Figure(figsize=(width, height))
        draw(figure)
        figure.savefig(file, format="svg", transparent=transparent, metadata={"Date": None, "Creator": None})
    return file.getvalue()


def shortened(label: str) -> str:
    """A label of at most 30 letters, all of them printable."""
    label = label.encode(errors="replace").decode()  # a file's name need not be Unicode
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def _bare_axes(figure: "Figure", theme: Theme) -> "Axes":
    axes = figure.add_subplot(frameon=False)
    axes.tick_params(colors=theme.soft, which="both", length=0)
    return axes


def _plot(title: str, words: Sequence[str], draw: Callable[["Figure", Theme], None], height: float) -> Plot:
    def embedded(theme: Theme) -> str:
        drawn = draw_svg(lambda figure: draw(figure, theme), _WIDTH, height)
        return "data:image/svg+xml;base64," + base64.b64encode(drawn).decode()

    return Plot(title, f"{title}. {'; '.join(words)}", embedded(LIGHT), embedded(DARK))
