"""Two small plots as HTML: classes say what a mark means, the page that holds them says how that looks."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple


class Mark(NamedTuple):
    """One bar or point."""

    label: str
    value: float
    """Length of the bar, or height of the point."""
    text: str
    """The value in words."""
    kind: str
    """CSS class: ``ours``, ``paper``, ``peer`` or ``loss``."""
    cost: float = math.nan
    """Position of the point, on a logarithmic axis."""


_WIDTH = 560
_LETTER, _LINE = 7.8, 16
"""Width of a letter and height of a line, roughly."""
_LONGEST = 22
"""Letters of a label in the plot."""


def bars(title: str, marks: Sequence[Mark]) -> str:
    """Horizontal bars in the order given; a negative one is as long as a positive one, only its class tells."""
    largest = max((abs(mark.value) for mark in marks if math.isfinite(mark.value)), default=0) or 1
    rows = "".join(
        f'<li><span title="{html.escape(mark.label)}">{html.escape(mark.label)}</span>'
        f'<i class="{mark.kind}" style="--share:{min(1, abs(mark.value) / largest):.3f}"></i>'
        f"<b>{html.escape(mark.text)}</b></li>"
        for mark in marks
    )
    return _figure(title, f'<ol class="bars">{rows}</ol>')


def scatter(title: str, marks: Sequence[Mark], unit: str) -> str:
    """Points over a logarithmic axis of cost, each with its label beside it."""
    left, right, top, bottom = 52, _WIDTH - 14, 12, 268
    lowest, highest = (math.log10(choose(mark.cost for mark in marks)) for choose in (min, max))
    first, last = math.floor(lowest), max(math.floor(lowest) + 1, math.ceil(highest))
    step = _step(max(mark.value for mark in marks) - min(mark.value for mark in marks))
    floor = math.floor(min(mark.value for mark in marks) / step - 0.3) * step
    ceiling = math.ceil(max(mark.value for mark in marks) / step + 0.3) * step

    def place(cost: float, value: float) -> tuple[float, float]:
        share = (math.log10(cost) - first) / (last - first)
        return left + share * (right - left), bottom - (value - floor) / (ceiling - floor) * (bottom - top)

    parts: list[str] = []
    for index in range(round((ceiling - floor) / step) + 1):
        value = floor + index * step
        y = place(10**first, value)[1]
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 8}" y="{y:.1f}" class="label">{value:.{0 if step >= 1 else 1}f}</text>')
    for power in range(first, last + 1):
        x = place(10**power, floor)[0]
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" class="tick">{10.0**power:g}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{bottom + 36}" class="tick">{html.escape(unit)}</text>')
    points = [place(mark.cost, mark.value) for mark in marks]
    taken = [(x - 7, x + 7, y) for x, y in points]
    for mark, (x, y) in sorted(zip(marks, points, strict=True), key=lambda both: -both[0].value):
        name = mark.label if len(mark.label) <= _LONGEST else f"{mark.label[: _LONGEST - 1]}…"
        label = f"{name}, {mark.text}"
        spot = _free_spot(x, y, len(label) * _LETTER, taken, (left, right), (top, bottom))
        taken.append(spot)
        side, anchor = ("value", spot[0]) if spot[0] > x else ("label", spot[1])
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" class="{mark.kind}">'
            f"<title>{html.escape(f'{mark.label}: {mark.text} at {mark.cost:.3g} {unit}')}</title></circle>"
            f'<text x="{anchor:.1f}" y="{spot[2]:.1f}" class="{side} {mark.kind}">{html.escape(label)}</text>'
        )
    drawing = f'<svg viewBox="0 0 {_WIDTH} {bottom + 46}" role="img" aria-label="{html.escape(title)}">'
    return _figure(title, f"{drawing}{''.join(parts)}</svg>")


def _free_spot(
    x: float,
    y: float,
    width: float,
    taken: Sequence[tuple[float, float, float]],
    across: tuple[float, float],
    down: tuple[float, float],
) -> tuple[float, float, float]:
    """Where a label beside a point covers nothing: (start, end, height), right of the point and level if possible."""
    right, left = (x + 10, x + 10 + width), (x - 10 - width, x - 10)
    for shift in sorted(range(-80, 81, 2), key=abs):
        for start, end in (right, left):
            inside = across[0] <= start and end <= across[1] and down[0] <= y + shift <= down[1]
            if inside and not any(
                start < ended and begun < end and abs(y + shift - there) < _LINE for begun, ended, there in taken
            ):
                return start, end, y + shift
    return (*right, y) if right[1] <= across[1] else (*left, y)


def _step(span: float) -> float:
    """A round distance between grid lines that gives about four of them."""
    return next((step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10) if span / step <= 4), 20)


def _figure(title: str, content: str) -> str:
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{content}</figure>"
