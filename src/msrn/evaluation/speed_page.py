"""A benchmark's result as a Markdown table or one self-contained HTML page."""

import html
from pathlib import Path

from msrn.evaluation.results import Benchmark, Measurement
from msrn.system.atomic import write_atomically

_COLUMNS = {
    "network": ("network", "{}"),
    "side": ("side", "{}"),
    "entry": ("what", "{}"),
    "precision": ("type", "{}"),
    "seconds_per_megapixel": ("s/megapixel", "{:.2f}"),
    "gigaflops": ("GFLOP/s", "{:.0f}"),
    "share": ("of ceiling", "{:.0%}"),
    "product": ("of product", "{:.0%}"),
    "copy": ("of copy", "{:.0%}"),
    "factor": ("× plain", "{:.1f}"),
    "memory": ("MiB", "{:.0f}"),
    "loss": ("dB lost", "{:.3f}"),
}

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>MSRN benchmark</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }}
:root {{ color-scheme: light dark }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ padding: .2rem .5rem; text-align: right; white-space: nowrap }}
th {{ border-bottom: 1px solid }}
td:nth-child(3), th:nth-child(3), td:last-child, th:last-child {{ text-align: left }}
td:last-child {{ width: 25% }}
.bar {{ display: inline-block; height: .8em; background: #47a; min-width: 1px }}
</style>
<h1>MSRN benchmark</h1>
<p>{machine}</p><p>{ceilings}</p>
<table><tr>{head}<th>speed</th></tr>
{rows}
</table></html>
"""


def text(result: Benchmark) -> str:
    """Return a Markdown table, the machine and the ceilings above it."""
    head = [title for title, _ in _COLUMNS.values()]
    lines = [
        machine_line(result),
        "",
        ceiling_line(result),
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
    ]
    return "\n".join([*lines, *("| " + " | ".join(cells(row)) + " |" for row in result.rows)])


def write(result: Benchmark, path: Path) -> None:
    """Write the page.

    Raises:
        OutputError: it cannot be written.
    """
    fastest: dict[tuple[str, int], float] = {}
    for row in result.rows:
        group = row.network, row.side
        fastest[group] = min(fastest.get(group, row.seconds_per_megapixel), row.seconds_per_megapixel)
    rows: list[str] = []
    for row in result.rows:
        length = 100 * fastest[row.network, row.side] / row.seconds_per_megapixel
        shown = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(row))
        rows.append(f'<tr>{shown}<td><span class="bar" style="width:{length:.1f}%"></span></td></tr>')
    page = _PAGE.format(
        machine=html.escape(machine_line(result)),
        ceilings=html.escape(ceiling_line(result)),
        head="".join(f"<th>{html.escape(title)}</th>" for title, _ in _COLUMNS.values()),
        rows="\n".join(rows),
    )
    write_atomically(path, lambda file: file.write(page.encode()))


def cells(row: Measurement) -> list[str]:
    """Return a row as the table shows it."""
    shown = [(getattr(row, key), form) for key, (_, form) in _COLUMNS.items()]
    return ["–" if value is None else form.format(value) for value, form in shown]


def machine_line(result: Benchmark) -> str:
    """What it was measured on."""
    machine = result.machine
    return f"{machine.processor}, {machine.cores} cores, {machine.kind}; load before the run {machine.load}"


def ceiling_line(result: Benchmark) -> str:
    """What nothing can exceed: the rates of lone convolutions, matrix products and copies."""
    rates = (
        f"{each.channels} channels, {each.backend} {each.precision} {each.gigaflops:.0f}" for each in result.ceilings
    )
    products = "; ".join(f"{precision} {rate:.0f}" for precision, rate in result.products.items())
    return (
        f"Ceilings: lone 3×3 convolutions in GFLOP/s: {'; '.join(rates)}. Matrix products in GFLOP/s: {products}. "
        f"Copying memory: {result.copy:.1f} GB/s"
    )
