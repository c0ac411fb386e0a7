"""Write the README's tables: scores from the evaluations in docs/results, seconds from docs/results/photograph.json.

    python scripts/documentation/update_readme.py                    from the evaluations as they are
    python scripts/documentation/update_readme.py --evaluate DATA    evaluate what is new first; minutes
    python scripts/documentation/update_readme.py --check            only compare: exit code 1 if out of date

Each file of weights in docs/results is what `msrn evaluate --json` prints, without the times. `python
scripts/benchmarks/photograph_seconds.py --write` measures the seconds.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.benchmarks.precision import CASES

from msrn.evaluation import tables
from msrn.evaluation.protocol import Protocol
from msrn.evaluation.results import Evaluation, from_json, to_json
from msrn.network import weights
from msrn.network.catalogue import CatalogueRow
from msrn.network.config import MSRNConfig
from msrn.types import Precision

ROOT = Path(__file__).parents[2]
DIGITS = 9
"""Decimals that are kept: the rest differs between processors."""
WAYS: dict[str, tuple[Protocol, bool]] = {
    "-tta": ("matlab", True),
    "-tiles": ("authors-tiles", False),
    "-tiles-tta": ("authors-tiles", True),
}
"""Other ways to score the paper's own network: by which protocol, and whether eight turned results are averaged."""
README, RESULTS = ROOT / "README.md", ROOT / "docs" / "results"
BUSY = "The machine was busy: these are the processor's seconds divided by the cores, which an idle one takes at least."
BEGIN_SECONDS = "<!-- seconds: written by scripts/documentation/update_readme.py -->\n"
END_SECONDS = "<!-- end of seconds -->\n"
BEGIN, END = "<!-- scores: written by scripts/documentation/update_readme.py -->\n", "<!-- end of scores -->\n"


def path_of(entry: CatalogueRow, way: str = "") -> Path:
    """The evaluation of one catalogue row."""
    return RESULTS / f"{entry.name}{way}.json"


def ways_of(entry: CatalogueRow) -> list[str]:
    """How weights are scored: as all are, and those of the paper's own network in three more ways."""
    return ["", *WAYS] if weights.load(entry.name).card.config == MSRNConfig() else [""]


def evaluate(data: Path) -> None:
    """Score the weights of the catalogue whose scores are not there, and keep the results."""
    from msrn.evaluation.methods import WeightsMethod
    from msrn.evaluation.protocol import evaluate as score
    from msrn.restoration.restorer import Restorer

    for entry in weights.CATALOGUE:
        for way in ways_of(entry):
            if _found(entry, way):
                continue
            protocol, tta = WAYS.get(way, ("matlab", False))
            # In fp32, the other ways would take an hour for the paper's network, and bf16 costs it 0.0002 dB.
            precision: Precision = "bf16" if way else "fp32"
            method = WeightsMethod(Restorer(entry.name, device="cpu", precision=precision, tta=tta))
            folder, levels = CASES[entry.kind]
            options: dict[str, Any] = {"color": entry.color, "protocol": protocol}
            results = [score(entry.task, level, data / folder, method, **options) for level in levels]
            results = [replace(result, duration=None) for result in results]
            path_of(entry).parent.mkdir(exist_ok=True)
            path_of(entry, way).write_text(to_json(results, DIGITS) + "\n", encoding="utf-8")


def table() -> str:
    """Every evaluation, the paper beside it."""
    results: list[Evaluation] = []
    for entry in weights.CATALOGUE:
        found = _found(entry)
        if not found:
            sys.exit(
                f"{path_of(entry)} does not hold scores of {entry.file}: "
                "run python scripts/documentation/update_readme.py --evaluate DATA"
            )
        results += found
    return tables.markdown(results) + "\n"


def _found(entry: CatalogueRow, way: str = "") -> list[Evaluation]:
    """What is kept of these very weights."""
    path = path_of(entry, way)
    found = from_json(path.read_text(encoding="utf-8")) if path.is_file() else []
    return found if all(f"(sha256 {entry.sha256})" in (result.weights or "") for result in found) else []


def seconds() -> str:
    """How long each command takes for a photograph, and on what."""
    found = json.loads((RESULTS / "photograph.json").read_text(encoding="utf-8"))
    cores, taken = found["cores"], found["seconds"]
    idle = (found["load"] or 0) < cores / 4
    told = {command: each["wall"] if idle else each["processor"] / cores for command, each in taken.items()}
    rows = [
        (
            "`msrn restore`, `denoise` or `dejpeg`, 12 megapixels",
            [told[name] for name in ("restore", "denoise", "dejpeg")],
        ),
        ("`msrn upscale`, 3 to 12 megapixels", [told["upscale"]]),
    ]
    lines = [f"| on {cores} cores: {found['kind']} | |", "|---|---|"]
    lines += [f"| {what} | {', '.join(f'{value:.0f} s' for value in values)} |" for what, values in rows]
    lines += ["", "Measured by `python scripts/benchmarks/photograph_seconds.py --write`."]
    lines += [] if idle else [BUSY]
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """Return the README with its tables replaced."""
    for begin, made, end in ((BEGIN_SECONDS, seconds(), END_SECONDS), (BEGIN, table(), END)):
        head, rest = text.split(begin)
        text = head + begin + made + end + rest.split(end)[1]
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="only compare")
    what.add_argument("--evaluate", type=Path, metavar="DATA", help="folder of set5, s14 and classic5")
    arguments = parser.parse_args()
    if arguments.evaluate is not None:
        evaluate(arguments.evaluate)
    current = README.read_text(encoding="utf-8")
    wanted = updated(current)
    if arguments.check:
        sys.exit(
            "README.md is out of date: run python scripts/documentation/update_readme.py" if wanted != current else 0
        )
    README.write_text(wanted, encoding="utf-8")
