"""Exports of the package's weights in every format: the largest difference from the package on 20 random sizes.

    python scripts/benchmarks/exports.py            # all weights that come with the package
    python scripts/benchmarks/exports.py sr photo   # some

Writes the table of ``docs/export.md`` to standard output. Where white is 1, fp32 may differ by 1e-4 and int8 by 1/255.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from msrn.network.catalogue import CATALOGUE
from msrn.network.weights import load
from msrn.restoration.export import FORMATS, export

COLUMNS = [*((kind, "fp32") for kind, row in FORMATS.items() if row.suffix), ("openvino", "int8")]


def main(names: list[str]) -> None:
    """Print one row for each weights file."""
    print("| weights | " + " | ".join(kind if form == "fp32" else f"{kind}, {form}" for kind, form in COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name in names or [row.name for row in CATALOGUE]:
        cells: list[str] = []
        for kind, precision in COLUMNS:
            with TemporaryDirectory() as folder:
                path = Path(folder) / f"x{FORMATS[kind].suffix}"
                cells.append(f"{export(load(name), path, kind, precision=precision):.1e}")
        print(f"| `{load(name).name}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
