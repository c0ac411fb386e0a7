"""An inspection as files: a page, a sheet as PNG or SVG, or a folder with all of it; and as text."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msrn.errors import OutputError, UsageError
from msrn.evaluation.gallery import embedded
from msrn.evaluation.inspection import drawing
from msrn.evaluation.inspection.numbers import TILE, Inspected, Inspection
from msrn.evaluation.plots import Plot, draw_png, draw_svg, plot
from msrn.evaluation.report import render
from msrn.evaluation.tables import align, level_text, without_hash
from msrn.system.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 4.8, 2.6
"""Inches of a plot."""
_SHOWN = 12
"""Pictures on the page."""
FORMS = (".html", ".png", ".svg")


def write_inspection(found: Inspection, path: Path, command: str) -> list[Path]:
    """Write an inspection where the name says: ``.html``, ``.png``, ``.svg``; into a folder all three, and JSON.

    Args:
        found: from ``inspect``.
        path: the file, or a folder that is made where it is missing.
        command: what was typed.

    Returns:
        The files.

    Raises:
        UsageError: a file of another form, or a package is not installed.
        OutputError: a file cannot be written.
    """
    targets = outputs_of(path)
    for target in targets:
        content = _contents(found, target.suffix, command)
        write_atomically(target, lambda file, content=content: file.write(content))
    return targets


def outputs_of(path: Path) -> list[Path]:
    """The files that an output names: itself, or all that are written into a folder.

    Raises:
        UsageError: a file of another form.
    """
    if path.suffix.lower() in FORMS and not path.is_dir():
        return [path]
    if path.suffix and not path.is_dir():
        raise UsageError(f"{path}: an inspection is written as .html, .png or .svg, or into a folder")
    return [path / name for name in ("index.html", "inspection.png", "inspection.svg", "inspection.json")]


def check_outputs(path: Path, *, overwrite: bool) -> None:
    """Raise before anything is computed: for another form, and for a file that would be replaced.

    Raises:
        UsageError: a file of another form.
        OutputError: it exists.
    """
    for target in outputs_of(path):
        if target.exists() and not overwrite:
            raise OutputError(f"{target} exists; use --overwrite")


def summary(found: Inspection) -> str:
    """The figures in some lines."""
    card, mean = found.weights.card, found.mean("sums")
    columns = _memories(found)
    gates = [
        {"gate": f"block {gate.block}"}
        | dict.fromkeys(columns, "")
        | {name: f"{share:.0%}" for name, share in gate.by_memory.items()}
        for gate in found.gates
    ]
    blocks = [
        {
            "block": str(block),
            "weight": f"{found.ensemble[k]:.3f}" if found.ensemble else "–",
            "PSNR": f"{mean[k]:.2f}",
            "its own": f"{found.mean('images')[k]:.2f}",
            "95 % within": f"{found.reach.within[k]} px",
            "tiles finished": f"{share:.0%}",
        }
        for k, (block, share) in enumerate(zip(found.outputs, found.mean("shares"), strict=True))
    ]
    lines = [drawing.headline(found), "", align(gates, ["gate", *columns]), ""]
    lines += [f"degraded {found.mean('degraded'):.2f} dB ({level_text(card.task, found.level)})"]
    lines += [align(blocks, list(blocks[0]))]
    return "\n".join(lines + ([] if found.ensemble else ["", _NO_WEIGHTS]))


_NO_WEIGHTS = "This network predicts an image after its last block only: it has no weights w_m, and no smaller effort."


def _contents(found: Inspection, suffix: str, command: str) -> bytes:
    if suffix == ".json":
        return (json.dumps(found.as_json(), indent=2) + "\n").encode()
    if suffix == ".html":
        return _page(found, command).encode(errors="backslashreplace")
    draw, width, height = drawing.sheet(found)
    return draw_png(draw, width, height) if suffix == ".png" else draw_svg(draw, width, height, transparent=False)


def _page(found: Inspection, command: str) -> str:
    card, config, blocks = found.weights.card, found.weights.card.config, len(found.outputs)
    shown = found.pictures[:_SHOWN]
    maps = [
        {
            "block": block,
            "within": within,
            "possible": possible,
            "address": embedded(drawing.reach_picture(found.reach, k)),
        }
        for k, (block, within, possible) in enumerate(
            zip(found.outputs, found.reach.within, found.reach.possible, strict=True)
        )
    ]
    efforts = [
        {"name": seen.name, "address": embedded(drawing.effort_picture(seen)), "words": _effort_words(found, seen)}
        for seen in shown
    ]
    return render(
        "inspection.html",
        name=without_hash(f"{found.weights.name} (sha256 {found.weights.sha256})"),
        lead=f"{config.shape}: {config.memory_blocks} memory blocks, recursions: {config.recursions}, "
        f"{config.channels} channels; made for {card.task}, trained on {card.data}.",
        notes=_notes(found),
        level=level_text(card.task, found.level),
        found=found,
        columns=_memories(found),
        gates=[_gate_plot(found, k) for k in range(len(found.gates))],
        blocks=_block_plots(found),
        spectra=_spectra_plots(found),
        reach=maps,
        legend=[
            {"block": block, "share": share, "color": drawing.hue(k, blocks)}
            for k, (block, share) in enumerate(zip(found.outputs, found.mean("shares"), strict=True), start=1)
        ],
        efforts=efforts,
        hidden=len(found.pictures) - len(shown),
        tile=TILE,
        command=command,
    )


def _notes(found: Inspection) -> list[str]:
    notes = ["No picture was named, so a drawn chart stands in: name your own."] if found.drawn else []
    notes += [] if found.ensemble else [_NO_WEIGHTS]
    notes += [f"{failure.name} could not be looked at: {failure.error}" for failure in found.failures]
    notes += [] if found.spectra else ["The pictures are too small for spectra of the memories."]
    return notes


def _memories(found: Inspection) -> list[str]:
    """All memories that some gate reads, long-term ones first."""
    names = dict.fromkeys(name for gate in found.gates for name in gate.memories)
    return sorted(names, key=lambda name: (name[0], int(name[1:])))


def _gate_plot(found: Inspection, number: int) -> Plot:
    gate = found.gates[number]
    words = [f"{name}: mean {mean:.2f}" for name, mean in zip(gate.memories, gate.means, strict=True)]
    return _plot(f"block {gate.block}", words, lambda axes: drawing.draw_gate(axes, gate, drawing.gate_top(found)), 1.9)


def _block_plots(found: Inspection) -> list[Plot]:
    made: list[Plot] = []
    weights = found.ensemble
    if weights:
        words = [f"w{k}: {weight:.3f}" for k, weight in enumerate(weights, start=1)]
        made.append(_plot("learned weights", words, lambda axes: drawing.draw_ensemble(axes, weights)))
    words = [f"degraded: {found.mean('degraded'):.2f}"]
    words += [f"{block}: {value:.2f}" for block, value in zip(found.outputs, found.mean("sums"), strict=True)]
    return [*made, _plot("PSNR after each block, mean", words, lambda axes: drawing.draw_scores(axes, found))]


def _spectra_plots(found: Inspection) -> list[Plot]:
    spectra = found.spectra
    if spectra is None:
        return []
    first, last = 10 * np.log10(spectra.power[:, 0]), 10 * np.log10(spectra.power[:, -1])
    words = [f"B{k}: from {a:+.1f} to {b:+.1f} dB" for k, (a, b) in enumerate(zip(first, last, strict=True))]
    more = [f"B{k}: {row[-1]:+.1f} dB at the highest" for k, row in enumerate(spectra.differences, start=1)]
    return [
        _plot("power of each memory", words, lambda axes: drawing.draw_spectra(axes, spectra)),
        _plot("what each has more than the one before", more, lambda axes: drawing.draw_differences(axes, spectra)),
    ]


def _effort_words(found: Inspection, seen: Inspected) -> str:
    parts = zip(found.outputs, seen.shares, strict=True)
    return ", ".join(f"{share:.0%} of the tiles after block {block}" for block, share in parts if share)


def _plot(title: str, words: Sequence[str], draw: "Callable[[Axes], Any]", height: float = _HEIGHT) -> Plot:
    def draw_all(figure: "Figure") -> None:
        figure.set_layout_engine("constrained")
        draw(figure.add_subplot())

    return plot(title, words, draw_all, height, _WIDTH)
