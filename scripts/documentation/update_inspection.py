"""Draw the figure of docs/inspect.md: the sheet that `msrn inspect` makes of the demonstration's photographs.

python scripts/documentation/update_inspection.py
"""

import io
from pathlib import Path

from PIL import Image

from msrn.evaluation.inspection import inspect
from msrn.evaluation.inspection.drawing import sheet
from msrn.evaluation.inspection.page import summary
from msrn.evaluation.plots import draw_png
from msrn.network.weights import load

ROOT = Path(__file__).parents[2]
NAME = "msrn-m6r6-sr"


def main() -> None:
    """Write docs/images/inspection.webp, and print what the command prints."""
    found = inspect(load(NAME), [ROOT / "demo" / "photographs"])
    path = ROOT / "docs" / "images" / "inspection.webp"
    with Image.open(io.BytesIO(draw_png(*sheet(found), dots=110))) as drawn:
        drawn.convert("RGB").save(path, quality=88, method=6)
    print(f"{path}\n{summary(found)}")


if __name__ == "__main__":
    main()
