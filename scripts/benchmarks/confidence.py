"""Calibrates the estimates of a result's error, and checks them on pictures that nothing was calibrated on.

    python scripts/benchmarks/confidence.py fit PARTS [--networks m4r1s2 m6r1s2] [--tenths]
    python scripts/benchmarks/confidence.py check PARTS DATA [--networks m4r1s2] [--figures docs/images]
    python scripts/benchmarks/confidence.py show PICTURE docs/images/confidence.webp

PARTS is what ``unseen_photographs.py`` wrote: clean pictures that no network was trained on. ``fit`` takes those in
``calibration``, and writes what it finds for the named networks into the package. With ``--tenths`` it writes nothing,
and predicts each tenth of the pictures from the others. ``check`` scores ``test`` and ``final``, and as gray also
Classic5 (JPEG), or Set5 and the 14 images (enlarging, noise), in DATA: each level of them all, each set, and all.
``--saved FOLDER`` keeps what was measured there, or takes it from there. ``show`` draws a JPEG of a picture, what is
made of it, the likely error and the true one. What the estimate costs is measured by ``assurances.py``.

How pictures are damaged and measured says ``confidence_cases.py``. Coverage is the share of the patches whose error is
below what is said, each picture counting alike, with the standard error that comes from having only these pictures (of
2,000 draws of as many, with replacement); rank correlation is Spearman's.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from confidence_cases import CASES, Case, compressed, measured
from numpy.typing import NDArray

from msrn import images
from msrn.images.picture import Picture, to_uint8
from msrn.restoration import confidence
from msrn.restoration.confidence.calibration import SHARES, Calibration, Measured, calibration_for, fit
from msrn.restoration.confidence.calibration import root_mean_square as rms
from msrn.restoration.confidence.estimate import known_as
from msrn.restoration.confidence.features import Features
from msrn.restoration.restorer import Restorer

FILE = Path(confidence.__file__).parent / "calibration.json"


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Spearman's, of values that are hardly ever equal."""
    return float(np.corrcoef(*(np.argsort(np.argsort(each)) for each in (one, other)))[0, 1])


@dataclass
class Check:
    """What predictions are worth."""

    likely: list[NDArray[Any]] = field(default_factory=list)
    true: list[NDArray[Any]] = field(default_factory=list)
    below: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    """Of each picture, at each level, the share of patches whose error is below what is said."""
    within: list[float] = field(default_factory=list)
    """Rank correlation in each picture."""
    wholes: list[bool] = field(default_factory=list)
    """Whether a picture's error is below what is said."""

    def add(self, calibration: Calibration, folder: str, each: Measured) -> None:
        """Compare the prediction with the truth."""
        predicted = calibration.predict(each.seen)
        self.likely.append(predicted.likely)
        self.true.append(each.errors)
        self.below.setdefault((folder, each.number), []).append(float((each.errors <= predicted.below).mean()))
        self.within.append(rank_correlation(predicted.likely, each.errors))
        self.wholes.append(rms(each.errors) <= predicted.picture_below)

    @property
    def coverage(self) -> tuple[float, float]:
        """Share of the patches, each picture counting alike, and its standard error."""
        pictures = np.array([np.mean(shares) for shares in self.below.values()])
        drawn = np.random.default_rng(0).choice(pictures, (2000, len(pictures))).mean(axis=1)
        return float(pictures.mean()), float(drawn.std())

    def row(self) -> str:
        """The columns of a table."""
        together = rank_correlation(np.concatenate(self.likely), np.concatenate(self.true))
        coverage, error = self.coverage
        return (
            f"{len(self.below)} | {together:.2f} | {np.mean(self.within):.2f} | "
            f"{100 * coverage:.1f} ± {100 * error:.1f} % | {100 * np.mean(self.wholes):.0f} %"
        )


HEAD = "pictures | rank correlation | within a picture | coverage | pictures below |\n|---|---|---|---|---|---|"
Found = dict[tuple[float, str], list[Measured]]
"""By level and folder."""


def chosen(options: argparse.Namespace) -> Iterator[tuple[Case, list[Restorer]]]:
    """The cases that are asked for, and their steps."""
    for network in options.networks:
        for case in CASES:
            if "+".join(case.tasks) in options.cases and (steps := case.steps(network)):
                yield case, steps


def found(case: Case, steps: list[Restorer], folders: list[Path], saved: Path | None) -> Found:
    """What is seen and what is true of the pictures in folders at all levels."""
    return {
        (level, folder.name): measured(case, steps, folder, level, saved) for level in case.levels for folder in folders
    }


def fit_all(options: argparse.Namespace) -> None:
    """Fit each case of each network."""
    print(f"| each tenth, predicted from the others | {HEAD}" if options.tenths else "fitting")
    for case, steps in chosen(options):
        every = found(case, steps, [options.parts / "calibration"], options.saved)
        if options.tenths:
            tenths(case, every)
        else:
            keep(case, steps, fit([each for level in every.values() for each in level]))


def keep(case: Case, steps: list[Restorer], calibration: Calibration) -> None:
    """Write a calibration into the package."""
    known: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    weights, kind = known_as(steps, gray=case.kind == "gray")
    known.setdefault(weights.sha256[:8], {"network": weights.name})[kind] = calibration.as_json()
    FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(case.name, calibration, flush=True)


def tenths(case: Case, every: Found) -> None:
    """Rows of a case, each tenth of its pictures predicted from the other nine."""
    checks = dict[str, Check]()
    for tenth in range(10):
        calibration = fit([each for several in every.values() for each in several if each.number % 10 != tenth])
        for (level, folder), several in every.items():
            for each in several:
                if each.number % 10 == tenth:
                    for name in (f"{level:g}", "all"):
                        checks.setdefault(name, Check()).add(calibration, folder, each)
    for name, check in checks.items():
        print(f"| {case.name}, {name} | {check.row()} |", flush=True)


def check_all(options: argparse.Namespace) -> None:
    """Rows for pictures that nothing was calibrated on, and figures of them."""
    print(f"| result | {HEAD}")
    drawn = dict[str, list[tuple[Calibration, Measured]]]()
    for case, steps in chosen(options):
        calibration = calibration_for(*known_as(steps, gray=case.kind == "gray"))
        every = found(case, steps, folders_for(case, options), options.saved)
        checks = dict[str, Check]()
        for (level, folder), several in every.items():
            for each in several:
                for name in (f"{level:g}", folder, "all"):
                    checks.setdefault(name, Check()).add(calibration, folder, each)
                drawn.setdefault(case.name, []).append((calibration, each))
        for name, check in checks.items():
            print(f"| {case.name}, {name} | {check.row()} |", flush=True)
    if options.figures is not None:
        draw_checks(drawn, options.figures / "confidence.svg")


def folders_for(case: Case, options: argparse.Namespace) -> list[Path]:
    """Where the pictures of a case are that nothing was calibrated on."""
    sets = ["classic5"] if "jpeg" in case.tasks else ["set5", "s14"]
    photographs = [options.parts / part for part in ("test", "final")]
    return [*photographs, *(options.data / name for name in sets if case.kind == "gray")]


def draw_checks(drawn: dict[str, list[tuple[Calibration, Measured]]], path: Path) -> None:
    """Predicted against true errors, and coverage against what is stated."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "msrn", "font.size": 9, "svg.fonttype": "none"}
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.8), layout="constrained")
    left.plot([0.3, 40], [0.3, 40], color="0.6", linewidth=1)
    right.plot([45, 95], [45, 95], color="0.6", linewidth=1)
    for name, every in drawn.items():
        likely, true = (
            np.concatenate(values)
            for values in zip(*((fitted.predict(each.seen).likely, each.errors) for fitted, each in every), strict=True)
        )
        groups = np.array_split(np.argsort(likely), 12)
        places = [np.median(likely[group]) for group in groups]
        low, middle, high = np.array([np.quantile(true[group], (0.1, 0.5, 0.9)) for group in groups]).T
        (line,) = left.plot(places, middle, marker=".", linewidth=1, label=name)
        left.fill_between(places, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
        inside = [
            100 * np.mean([(each.errors <= fitted.predict(each.seen, share).below).mean() for fitted, each in every])
            for share in SHARES
        ]
        right.plot([100 * share for share in SHARES], inside, marker=".", linewidth=1, color=line.get_color())
    left.set(xscale="log", yscale="log", xlabel="likely error, grey levels", ylabel="true error: median, 10 to 90 %")
    left.legend(frameon=False)
    right.set(xlabel="stated, % of patches", ylabel="found, % of patches")
    figure.savefig(path, metadata={"Date": None})


def show(options: argparse.Namespace) -> None:
    """Draw a picture's damage, its restoration, what is likely to be wrong and what is."""
    clean = images.read(options.picture).pixels
    damaged = compressed(clean, options.quality, 0)
    restored, found = confidence.restore_with_confidence(Restorer("jpeg"), damaged)
    true = features_map(to_uint8(restored.pixels).astype(np.float64) - to_uint8(clean))
    likely = found.map()
    print(found, f"; true {rms(to_uint8(restored.pixels).astype(float) - to_uint8(clean)):.2f}", sep="")
    tiles = [damaged.pixels, restored.pixels, *(shaded(each / confidence.WHITE) for each in (likely, true))]
    rows = [np.concatenate(pair, axis=2) for pair in (tiles[:2], tiles[2:])]
    joined = np.concatenate(rows, axis=1).clip(0, 1)
    images.write(Picture(joined.astype(np.float32)), options.output, quality=80, overwrite=True)


def features_map(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean squares around each pixel, drawn as the likely ones are."""
    features = Features()
    plane = (difference**2).mean(axis=0)[None] / 255.0**2
    same = np.zeros((1, 1, *plane.shape[1:]), np.float32)
    features(same, same, plane.astype(np.float32))
    corners = features.maps()[0].astype(np.float32)
    return confidence.Confidence(0, 0, corners, (plane.shape[1], plane.shape[2])).map()


def shaded(values: NDArray[Any]) -> NDArray[Any]:
    """From black over red and yellow to white, ``(3, H, W)``."""
    return np.stack([3 * values, 3 * values - 1, 3 * values - 2]).clip(0, 1)


def main() -> None:
    """Fit, check or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    fitting, checking, showing = (commands.add_parser(name) for name in ("fit", "check", "show"))
    for each in (fitting, checking):
        each.add_argument("parts", type=Path)
        each.add_argument("--saved", type=Path)
    fitting.add_argument("--tenths", action="store_true")
    checking.add_argument("data", type=Path)
    checking.add_argument("--figures", type=Path)
    showing.add_argument("picture", type=Path)
    showing.add_argument("output", type=Path)
    showing.add_argument("--quality", type=int, default=15)
    for each, run in ((fitting, fit_all), (checking, check_all), (showing, show)):
        each.set_defaults(run=run)
        each.add_argument("--networks", nargs="+", default=["m4r1s2"])
        each.add_argument("--cases", nargs="+", default=sorted({"+".join(case.tasks) for case in CASES}))
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
