"""A benchmark's result as a Markdown table or one self-contained HTML page."""

from pathlib import Path

from msrn.evaluation.page import render, write_page
from msrn.evaluation.results import Benchmark, Measurement

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


def markdown(result: Benchmark) -> str:
    """The benchmark as a Markdown table, the machine and the ceilings above it."""
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


def write_speed_page(result: Benchmark, path: Path) -> None:
    """Write the page: the table, and beside each row its speed as a bar, compared with the fastest on that size.

    Raises:
        OutputError: it cannot be written.
        UsageError: Jinja2 is not installed.
    """
    fastest: dict[tuple[str, int], float] = {}
    for row in result.rows:
        group = row.network, row.side
        fastest[group] = min(fastest.get(group, row.seconds_per_megapixel), row.seconds_per_megapixel)
    percents = [100 * fastest[row.network, row.side] / row.seconds_per_megapixel for row in result.rows]
    page = render(
        "benchmark.html",
        title="MSRN benchmark",
        machine=machine_line(result),
        ceilings=ceiling_line(result),
        head=[name for name, _ in _COLUMNS.values()],
        rows=[{"cells": cells(row), "percent": share} for row, share in zip(result.rows, percents, strict=True)],
    )
    write_page(path, page)


def cells(row: Measurement) -> list[str]:
    """The cells of a row as tables show them."""
    shown = [(getattr(row, key), form) for key, (_, form) in _COLUMNS.items()]
    return ["–" if value is None else form.format(value) for value, form in shown]


def machine_line(result: Benchmark) -> str:
    """The machine in words."""
    machine = result.machine
    return f"{machine.processor}, {machine.cores} cores, {machine.kind}; load before the run {machine.load}"


def ceiling_line(result: Benchmark) -> str:
    """The rates that nothing can exceed, in words: of lone convolutions, matrix products and copies."""
    rates = (
        f"{each.channels} channels, {each.backend} {each.precision} {each.gigaflops:.0f}" for each in result.ceilings
    )
    products = "; ".join(f"{precision} {rate:.0f}" for precision, rate in result.products.items())
    return (
        f"Ceilings: lone 3×3 convolutions in GFLOP/s: {'; '.join(rates)}. Matrix products in GFLOP/s: {products}. "
        f"Copying memory: {result.copy:.1f} GB/s"
    )
