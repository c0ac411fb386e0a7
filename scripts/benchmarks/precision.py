"""What computing in fewer bits costs on the benchmark sets: PSNR of every precision, by the literature's protocol.

    python scripts/benchmarks/precision.py DATA_ROOT [-w NAME ...]

fp32 is eager torch, which ``msrn evaluate`` uses; bf16 and int8 are OpenVINO's, which the automatic choice takes where
the weights' card allows it; "float16 file" is fp32 with weights as ``msrn publish --half`` stores them. Prints a
Markdown table; docs/experiments keeps it.
"""

import argparse
from pathlib import Path

from msrn import Restorer
from msrn.evaluation import tables
from msrn.evaluation.methods import WeightsMethod
from msrn.evaluation.protocol import evaluate
from msrn.network import weights

CASES: dict[str, tuple[str, tuple[float, ...]]] = {
    "sr": ("set5", (2, 3, 4)),
    "denoise": ("s14", (30, 50, 70)),
    "jpeg": ("classic5", (10, 20)),
    "denoise-color": ("set5", (30, 50, 70)),
    "jpeg-color": ("set5", (10, 20)),
    "photo": ("set5", (0, 10, 25, 50)),
    "photo-sr": ("set5", (2, 3, 4)),
}
"""Folder and levels, by what weights are for."""
COMPUTED = (("eager", "fp32"), ("openvino", "bf16"), ("openvino", "int8"), ("openvino", "int8-bf16"))


def main() -> None:
    """Print a row for each weights file and level."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data_root", type=Path)
    parser.add_argument("-w", "--weights", nargs="+", help="names in the catalogue; all of them by default")
    options = parser.parse_args()
    print("| weights | images | level | fp32 | bf16 | int8 | int8-bf16 | float16 file | automatic here |")
    print("|---|---|---|---|---|---|---|---|---|")
    for entry in weights.CATALOGUE:
        if options.weights and entry.name not in options.weights:
            continue
        loaded = weights.load(entry.name)
        automatic = Restorer(loaded, device="cpu").engine.tuned.choice
        methods = [WeightsMethod(Restorer(loaded, device="cpu", backend=b, precision=p)) for b, p in COMPUTED]
        halved = weights.halve(loaded)
        methods.append(WeightsMethod(Restorer(halved, device="cpu", backend="eager", precision="fp32")))
        folder, levels = CASES[entry.kind]
        for level in levels:
            results = [evaluate(entry.task, level, options.data_root / folder, m, color=entry.color) for m in methods]
            exact, *lower = (result.mean.psnr for result in results)
            cells = [entry.name, tables.data_name(results[0]), tables.level_name(results[0]), f"{exact:.3f}"]
            cells += [f"{psnr - exact:+.4f}" for psnr in lower]
            print(f"| {' | '.join(cells)} | {automatic} |", flush=True)


if __name__ == "__main__":
    main()
