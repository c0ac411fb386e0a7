"""What is found inside a network, drawn: each plot on axes of its own, all of them on one sheet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msrn.evaluation.inspection.numbers import Gate, Inspected, Inspection, Reach, Spectra
from msrn.evaluation.plots import INK, LINE, SOFT, shortened
from msrn.evaluation.tables import level_text, without_hash
from msrn.images.picture import to_uint8
from msrn.images.resize import resize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONG, SHORT = "#00796b", "#e06010"
"""Colours of long-term and short-term memories."""
_RAMP = np.array([(27, 158, 143), (47, 111, 222), (123, 63, 191), (194, 48, 122), (217, 84, 30)], np.float64)
_GLOW = np.array([(10, 14, 28), (36, 62, 140), (47, 130, 222), (150, 215, 245), (255, 255, 255)], np.float64)
_DECADES = 3
"""Powers of ten that maps of the receptive field show."""
_PICTURES = 3
"""On the sheet."""


def hue(block: int, blocks: int) -> str:
    """The colour of a block, from 1: of the first ones teal, of the last one orange."""
    red, green, blue = (round(value) for value in _between(_RAMP, (block - 1) / max(1, blocks - 1)))
    return f"#{red:02x}{green:02x}{blue:02x}"


def draw_gate(axes: "Axes", gate: Gate, top: float) -> None:
    """Norm of the gate's weights against the feature map, and the mean of each memory as a line."""
    channels = gate.norms.shape[1]
    for number, (name, norms) in enumerate(zip(gate.memories, gate.norms, strict=True)):
        left, color = number * channels, LONG if name.startswith("B") else SHORT
        axes.fill_between(np.arange(left, left + channels), norms, step="post", color=color, alpha=0.35, linewidth=0)
        axes.plot([left, left + channels], [norms.mean()] * 2, color=color, linewidth=2)
        place, turned = (left + channels / 2, 0.04 * top), 90 if len(gate.memories) > 4 else 0
        axes.text(*place, f"{norms.mean():.2f}", color=INK, ha="center", va="bottom", rotation=turned)
    middles = (np.arange(len(gate.memories)) + 0.5) * channels
    _plain(axes)
    axes.set_xticks(middles, gate.memories, rotation=90 if len(gate.memories) > 8 else 0)
    axes.set_xlim(0, gate.norms.size)
    axes.set_ylim(0, top)


def draw_ensemble(axes: "Axes", weights: Sequence[float]) -> None:
    """The learned weights w_1 … w_M as bars."""
    blocks = range(1, len(weights) + 1)
    bars = axes.bar(blocks, weights, 0.66, color=[hue(block, len(weights)) for block in blocks])
    axes.bar_label(bars, [f"{weight:.3f}" for weight in weights], padding=2, color=INK)
    axes.axhline(0, color=SOFT, linewidth=0.8)
    _plain(axes)
    axes.set_xticks(list(blocks), [f"w{block}" for block in blocks])
    axes.set_yticks([])
    axes.margins(y=0.15)


def draw_scores(axes: "Axes", found: Inspection) -> None:
    """Mean PSNR after each block: of its image, and of the sum of all so far."""
    blocks, degraded = found.outputs, found.mean("degraded")
    axes.axhline(degraded, color=SOFT, linestyle=":", linewidth=1.5, label=f"degraded, {degraded:.2f}")
    axes.plot(blocks, found.mean("images"), "o--", color=SHORT, label="the block's own image")
    if found.ensemble:
        sums = found.mean("sums")
        axes.plot(blocks, sums, "s-", color=LONG, label="sum so far (--effort)")
        for block, value in zip(blocks, sums, strict=True):
            axes.annotate(f"{value:.2f}", (block, value), (0, 6), textcoords="offset points", ha="center", color=INK)
    _plain(axes)
    axes.set_xticks(blocks)
    axes.set_xlabel("block", color=SOFT)
    axes.set_ylabel("PSNR, dB", color=SOFT)
    axes.margins(0.1, 0.16)
    axes.legend(frameon=False, labelcolor=INK, loc="best")


def draw_spectra(axes: "Axes", spectra: Spectra) -> None:
    """Power density of every memory in dB, each relative to its own mean."""
    blocks = len(spectra.power) - 1
    for number, power in enumerate(spectra.power):
        color = SOFT if number == 0 else hue(number, blocks)
        axes.plot(spectra.frequencies, 10 * np.log10(power), color=color, label=f"B{number}", linewidth=1.6)
    _frequencies(axes)
    axes.set_ylabel("power density, dB", color=SOFT)


def draw_differences(axes: "Axes", spectra: Spectra) -> None:
    """What every memory has more of than the one before it, in dB."""
    blocks = len(spectra.differences)
    axes.axhline(0, color=SOFT, linewidth=0.8)
    for number, decibels in enumerate(spectra.differences, start=1):
        label = f"B{number} – B{number - 1}"
        axes.plot(spectra.frequencies, decibels, color=hue(number, blocks), label=label, linewidth=1.6)
    _frequencies(axes)
    axes.set_ylabel("difference, dB", color=SOFT)


def reach_picture(reach: Reach, number: int) -> NDArray[np.uint8]:
    """``(3, side, side)``: the gradient of one prediction, its logarithm from black to white."""
    shares = reach.maps[number] / reach.maps.max(axis=(1, 2))[number]
    light = 1 + np.log10(shares.clip(10.0**-_DECADES)) / _DECADES
    return np.moveaxis(_between(_GLOW, light), -1, 0).round().astype(np.uint8)


def effort_picture(seen: Inspected, width: int = 480) -> NDArray[np.uint8]:
    """``(3, H, W)``: the picture in gray, at most so wide, each tile in the colour of the block that it needs."""
    gray = seen.view.mean(axis=0)
    scale = min(1.0, width / gray.shape[1])
    small = to_uint8(resize(gray, scale) if scale < 1 else gray).astype(np.float64)
    blocks, (height, wide) = len(seen.sums), small.shape
    rows = (np.arange(height) / scale // 64).astype(int).clip(0, seen.stops.shape[0] - 1)
    columns = (np.arange(wide) / scale // 64).astype(int).clip(0, seen.stops.shape[1] - 1)
    color = _between(_RAMP, (seen.stops[np.ix_(rows, columns)] - 1) / max(1, blocks - 1))
    return np.moveaxis(0.62 * small[..., None] + 0.38 * color, -1, 0).round().astype(np.uint8)


def sheet(found: Inspection) -> tuple[Any, float, float]:
    """What draws everything on one figure, and the width and height of that, in inches."""
    rows = [2.3, 2.7, *([2.7] if found.spectra else []), 2.6]

    def draw(figure: "Figure") -> None:
        figure.set_layout_engine("constrained", h_pad=0.06, w_pad=0.06)
        figure.suptitle(headline(found), color=INK, fontsize=13)
        made: Any = figure.subfigures(len(rows), 1, height_ratios=rows)
        parts = iter(made)
        _gate_row(next(parts), found)
        _score_row(next(parts), found)
        if found.spectra:
            _spectra_row(next(parts), found.spectra)
        _picture_row(next(parts), found)

    return draw, 12.0, 0.5 + sum(rows)


def headline(found: Inspection) -> str:
    """The weights and what they were looked at with."""
    names = "a drawn chart" if found.drawn else f"{len(found.pictures)} pictures"
    names = found.pictures[0].name if len(found.pictures) == 1 and not found.drawn else names
    card = found.weights.card
    what = without_hash(f"{found.weights.name} (sha256 {found.weights.sha256})")
    return f"Inside {what}: {card.config.shape} on {names}, {level_text(card.task, found.level)}"


def gate_top(found: Inspection) -> float:
    """The height that all gates' plots share."""
    return 1.12 * max(float(gate.norms.max()) for gate in found.gates)


def _gate_row(part: Any, found: Inspection) -> None:
    part.suptitle("What the gates read: norm of their weights by feature map, and the mean of each memory", color=INK)
    for axes, gate in zip(np.atleast_1d(part.subplots(1, len(found.gates), sharey=True)), found.gates, strict=True):
        draw_gate(axes, gate, gate_top(found))
        axes.set_title(f"block {gate.block}", color=SOFT, fontsize=9)


def _score_row(part: Any, found: Inspection) -> None:
    axes = part.subplots(1, 3 if found.ensemble else 2)
    if found.ensemble:
        axes[0].set_title("Learned weights of the images", color=INK)
        draw_ensemble(axes[0], found.ensemble)
    axes[-2].set_title("PSNR after each block", color=INK)
    draw_scores(axes[-2], found)
    last = found.reach.within[-1]
    axes[-1].set_title(f"What decides a pixel: 95 % within {last} of {found.reach.possible[-1]}", color=INK)
    _show(axes[-1], reach_picture(found.reach, -1))


def _spectra_row(part: Any, spectra: Spectra) -> None:
    left, right = part.subplots(1, 2)
    left.set_title("Frequencies in each memory", color=INK)
    draw_spectra(left, spectra)
    right.set_title("What each memory has more than the one before", color=INK)
    draw_differences(right, spectra)


def _picture_row(part: Any, found: Inspection) -> None:
    shown, blocks = found.pictures[:_PICTURES], len(found.outputs)
    part.suptitle("Where the effort went: the block after which a tile is within half a grey level", color=INK)
    places = np.atleast_1d(part.subplots(1, len(shown) + 1, width_ratios=[3] * len(shown) + [1]))
    for axes, seen in zip(places, shown, strict=False):
        axes.set_title(shortened(seen.name), color=SOFT, fontsize=9)
        _show(axes, effort_picture(seen))
    shares = np.mean([seen.shares for seen in found.pictures], axis=0)
    handles = [
        places[-1].bar(0, 0, color=hue(k, blocks), label=f"block {k}: {share:.0%}")
        for k, share in zip(range(1, blocks + 1), shares, strict=True)
    ]
    places[-1].legend(handles=handles, frameon=False, labelcolor=INK, loc="center left")
    places[-1].axis("off")


def _show(axes: "Axes", picture: NDArray[np.uint8]) -> None:
    axes.imshow(np.moveaxis(picture, 0, -1), interpolation="nearest")
    axes.axis("off")


def _frequencies(axes: "Axes") -> None:
    _plain(axes)
    axes.set_xlabel("cycles per pixel of the feature maps", color=SOFT)
    axes.legend(frameon=False, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5))


def _plain(axes: "Axes") -> None:
    axes.set_frame_on(False)
    axes.tick_params(colors=SOFT, which="both", length=0)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def _between(ramp: NDArray[np.float64], at: Any) -> NDArray[np.float64]:
    """Colours ``(…, 3)`` at shares from 0 to 1 of a ramp."""
    places = np.linspace(0, 1, len(ramp))
    return np.stack([np.interp(at, places, ramp[:, k]) for k in range(3)], axis=-1)
