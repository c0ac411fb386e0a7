"""Write the figures of the service into docs/service.md, from docs/results/service.json.

    python scripts/documentation/update_service.py            write them
    python scripts/documentation/update_service.py --check    only compare: exit code 1 if out of date

The figures come from scripts/benchmarks/service_speed.py and service_load.py, each with --keep.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "service.md", ROOT / "docs" / "results" / "service.json"
BEGIN, END = "<!-- figures: written by scripts/documentation/update_service.py -->\n", "<!-- end of figures -->\n"
WORDS = {"200": "the command's result", "left": "gone before the answer"}


def speed(kept: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Rows on what one client meets."""
    first, overhead, idle, half = (kept[name] for name in ("first", "overhead", "idle", "half"))

    def both(passed: dict[str, float]) -> str:
        return f"{passed['seconds']:.2f} s ({passed['of cores']:.2f} s of cores)"

    engine, service = overhead["engine"], overhead["service"]
    more, of_cores = (100 * (service[name] / engine[name] - 1) for name in ("seconds", "of cores"))
    return [
        ("first pixels of 12 megapixels at 1:1, after decoding", both(first["preview"]), loads(first)),
        ("… a window of 1280×800", both(first["window"]), loads(first)),
        ("one megapixel by the engine alone", both(engine), loads(overhead)),
        ("… by the service", f"{both(service)}: {more:+.0f} % ({of_cores:+.0f} %)", loads(overhead)),
        ("memory after one megapixel", f"{idle['after one megapixel, MB']:.0f} MB", loads(idle)),
        (f"… {idle['minutes']:g} idle minutes later", f"{idle['idle, MB']:.0f} MB", loads(idle)),
        (
            f"p95 at half the capacity, in parts of the same picture's lone requests (medians of {len(half['rounds'])} "
            f"rounds of {half['asked']})",
            f"{half['ratio'] / half['alone']:.2f} of their p95, {half['ratio']:.2f} of their median",
            loads(half),
        ),
    ]


def under_load(figures: dict[str, Any]) -> str:
    """What many clients meet."""
    sizes = figures["memory"]
    head = (
        f"{figures['clients']} clients for {figures['minutes']:g} minutes at {figures['multiple']:g} × the capacity of "
        f"{figures['capacity']:.1f} pictures a second ({loads(figures)}); memory {sizes[0]:.0f} MB in the first "
        f"minute, {sizes[-1]:.0f} MB in the last ({100 * figures['growth']:+.1f} %), at most {max(sizes):.0f} MB:"
    )
    kinds: dict[str, list[str]] = {}
    for key, count in figures["answers"].items():
        what, _, answer = key.partition(" ")
        kinds.setdefault(what, []).append(f"{count} × {answer}" + (f" ({WORDS[answer]})" if answer in WORDS else ""))
    rows = [f"| {what} | {', '.join(answers)} |" for what, answers in kinds.items()]
    return "\n".join([head, "", "| requests | answers |", "|---|---|", *rows]) + "\n"


def loads(figures: dict[str, Any]) -> str:
    """How busy the machine was."""
    return f"load {figures['load']:.1f}"


def block(kept: dict[str, Any]) -> str:
    """The whole block."""
    some = kept["overload"]
    lines = [f"{some['cores']} cores, {some['kind']}; fp32. Other work shared the machine, as its load says.", ""]
    lines += ["| what | figure | machine |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | {machine} |" for what, figure, machine in speed(kept)]
    tables = [under_load(kept[name]) for name in ("overload", "soak") if name in kept]
    return "\n".join([*lines, "", *tables])


def updated(text: str) -> str:
    """Return the page with its block replaced."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + block(json.loads(RESULTS.read_text(encoding="utf-8"))) + END + rest.split(END)[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only compare")
    current = PAGE.read_text(encoding="utf-8")
    wanted = updated(current)
    if parser.parse_args().check:
        sys.exit(
            "docs/service.md is out of date: run scripts/documentation/update_service.py" if wanted != current else 0
        )
    PAGE.write_text(wanted, encoding="utf-8")
