"""Plots drawn by matplotlib, for pages as SVG; the same marks give the same picture."""

import base64
import io
import itertools
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

INK, SOFT, LINE = "#1b2330", "#5d6878", "#dfe3ea"
_COLOURS: dict[Kind, str] = {"ours": "#2f6fde", "paper": "#e09a2b", "peer": "#b9c2cf", "loss": "#bb3a26"}
"""Colours for light pages; the page's style turns them round in the dark."""
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
    address: str
    """A ``data:`` address that holds the picture."""


def bars(title: str, marks: Sequence[Mark]) -> Plot:
    """Horizontal bars in the order given; a negative one points to the left."""

    def draw(figure: "Figure") -> None:
        axes = bare_axes(figure)
        values = [mark.value if math.isfinite(mark.value) else 0.0 for mark in marks]
        drawn = axes.barh(range(len(marks)), values, 0.72, color=[_COLOURS[mark.kind] for mark in marks])
        axes.bar_label(drawn, [mark.text for mark in marks], padding=4, color=INK)
        axes.set_yticks(range(len(marks)), [shortened(mark.label) for mark in marks], color=INK)
        axes.set_ylim(len(marks) - 0.4, -0.6)
        axes.set_xticks([])
        axes.margins(x=0.3)

    return plot(title, [f"{mark.label}: {mark.text}" for mark in marks], draw, 0.2 + 0.24 * len(marks))


def scatter(title: str, marks: Sequence[Mark], unit: str) -> Plot:
    """Points over a logarithmic axis of cost, each with a symbol of its own, named from the highest to the lowest."""
    ranked = sorted(marks, key=lambda mark: -mark.value)

    def draw(figure: "Figure") -> None:
        axes = bare_axes(figure)
        axes.set_xscale("log")
        axes.grid(color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        for mark, symbol in zip(ranked, itertools.cycle("osD^vP*X<>")):
            label = f"{shortened(mark.label)}, {mark.text}"
            axes.scatter(mark.cost, mark.value, 44, _COLOURS[mark.kind], marker=symbol, label=label, zorder=3)
        axes.set_xlabel(unit, color=SOFT)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(0.12)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, labelcolor=INK, labelspacing=0.6)

    words = [f"{mark.label}: {mark.text} at {mark.cost:.3g} {unit}" for mark in marks]
    return plot(title, words, draw, max(3.0, 0.4 + 0.22 * len(marks)))


Draw = Callable[["Figure"], None]
"""What draws on an empty figure."""


def draw_svg(draw: Draw, width: float, height: float, *, transparent: bool = True) -> bytes:
    """What is drawn on a figure of so many inches, as SVG without a date.

    Raises:
        UsageError: matplotlib is not installed.
    """
    return _drawn(
        draw, (width, height), format="svg", transparent=transparent, metadata={"Date": None, "Creator": None}
    )


def draw_png(draw: Draw, width: float, height: float, dots: int = 150) -> bytes:
    """What is drawn on a figure of so many inches, as PNG on white; errors are those of :func:`draw_svg`."""
    return _drawn(draw, (width, height), format="png", dpi=dots, metadata={"Software": None})


def _drawn(draw: Draw, size: tuple[float, float], **how: Any) -> bytes:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing("drawing plots", "matplotlib", "train") from error
    file = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that its own font lacks: the reader's fonts have them
        figure = Figure(figsize=size)
        draw(figure)
        figure.savefig(file, **how)
    return file.getvalue()


def shortened(label: str) -> str:
    """A label of at most 30 letters, all of them printable."""
    label = label.encode(errors="replace").decode()  # a file's name need not be Unicode
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def bare_axes(figure: "Figure") -> "Axes":
    """The axes of a figure, without a frame."""
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot(frameon=False)
    axes.tick_params(colors=SOFT, which="both", length=0)
    return axes


def plot(title: str, words: Sequence[str], draw: Draw, height: float, width: float = _WIDTH) -> Plot:
    """What is drawn on a figure of so many inches as a plot; ``words`` say what it shows.

    Raises:
        UsageError: matplotlib is not installed.
    """
    drawn = base64.b64encode(draw_svg(draw, width, height)).decode()
    return Plot(title, f"{title}. {'; '.join(words)}", f"data:image/svg+xml;base64,{drawn}")
