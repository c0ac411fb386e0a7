"""Write the README's table of scores from the evaluations in docs/results.

    python scripts/documentation/update_readme.py                    from the evaluations as they are
    python scripts/documentation/update_readme.py --evaluate DATA    evaluate what is new first; minutes
    python scripts/documentation/update_readme.py --check            only compare: exit code 1 if out of date

Each file of docs/results is what `msrn evaluate --json` prints, without the times.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.benchmarks.precision import CASES

from msrn.evaluation import tables
from msrn.evaluation.results import Evaluation, from_json, to_json
from msrn.network import weights
from msrn.network.catalogue import CatalogueRow

ROOT = Path(__file__).parents[2]
DIGITS = 9
"""Decimals that are kept: the rest differs between processors."""
README, RESULTS = ROOT / "README.md", ROOT / "docs" / "results"
BEGIN, END = "<!-- scores: written by scripts/documentation/update_readme.py -->\n", "<!-- end of scores -->\n"


def path_of(entry: CatalogueRow) -> Path:
    """The evaluation of one catalogue row."""
    return RESULTS / f"{entry.name}.json"


def evaluate(data: Path) -> None:
    """Score the weights of the catalogue whose scores are not there, and keep the results."""
    from msrn.evaluation.methods import WeightsMethod
    from msrn.evaluation.protocol import evaluate as score
    from msrn.restoration.restorer import Restorer

    for entry in weights.CATALOGUE:
        if _found(entry):
            continue
        method = WeightsMethod(Restorer(entry.name, device="cpu", precision="fp32"))
        folder, levels = CASES[entry.kind]
        results = [score(entry.task, level, data / folder, method, color=entry.color) for level in levels]
        results = [replace(result, duration=None) for result in results]
        path_of(entry).parent.mkdir(exist_ok=True)
        path_of(entry).write_text(to_json(results, DIGITS) + "\n", encoding="utf-8")


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


def _found(entry: CatalogueRow) -> list[Evaluation]:
    """What is kept of these very weights."""
    path = path_of(entry)
    found = from_json(path.read_text(encoding="utf-8")) if path.is_file() else []
    return found if all(f"(sha256 {entry.sha256})" in (result.weights or "") for result in found) else []


def updated(text: str) -> str:
    """Return the README with its table replaced."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + table() + END + rest.split(END)[1]


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
