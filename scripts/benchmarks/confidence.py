"""Calibrates the estimates of a result's error, and checks them on pictures that nothing was calibrated on.

    python scripts/benchmarks/confidence.py fit FOLDER... [--networks m4r1s2 m6r1s2] [--halves]
    python scripts/benchmarks/confidence.py check DATA PHOTOGRAPHS [--networks m4r1s2] [--figures docs/images]
    python scripts/benchmarks/confidence.py show PICTURE docs/images/confidence.webp
    python scripts/benchmarks/confidence.py cost

``fit`` takes folders of clean pictures that no network was trained on, and writes what it finds for the named networks
into the package. With ``--halves`` it writes nothing, and fits each half of the pictures to check it on the other.
``check`` scores Classic5 (JPEG), Set5 and the 14 images (enlarging, noise) in DATA, and PHOTOGRAPHS (all in colours).
``show`` draws a JPEG of a picture, what is made of it, the likely error and the true one. ``cost`` compares seconds
of all cores and the peak of memory with and without the estimate.

A picture is damaged as a file would hold it, in 8 bits; of large ones the middle is taken. Its result is rounded to 8
bits. Errors are root mean squares over all channels of patches of 32×32. Coverage is the share of the patches whose
error is below what is said, each picture counting alike; rank correlation is Spearman's.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msrn import images
from msrn.images import decode
from msrn.images.color import luminance
from msrn.images.folder import list_images
from msrn.images.picture import Picture, to_uint8
from msrn.images.resize import multiple_of, resize
from msrn.network.weights import Weights
from msrn.restoration import confidence
from msrn.restoration.chain import Chain
from msrn.restoration.confidence.calibration import SHARES, Calibration, Measured, calibration_for, fit, kind_of
from msrn.restoration.confidence.calibration import root_mean_square as rms
from msrn.restoration.confidence.estimate import seen_by, watch
from msrn.restoration.confidence.features import PATCH, Features
from msrn.restoration.restorer import Restorer
from msrn.types import Task

FILE = Path(confidence.__file__).parent / "calibration.json"
SIDE = 192
"""Pixels of the middle of a picture that are restored, at most."""
Pixels = NDArray[np.float32]


class Case(NamedTuple):
    """The tasks of steps one after the other, and how their pictures are damaged."""

    tasks: tuple[Task, ...]
    kind: str
    """``gray`` or ``color``."""
    levels: tuple[float, ...]
    damage: Callable[[Pixels, float, int], Picture]

    @property
    def name(self) -> str:
        """For tables."""
        return f"{', then '.join(self.tasks)}, {self.kind}"

    def scale(self, level: float) -> float | None:
        """The factor to enlarge by."""
        if self.tasks[-1] != "sr":
            return None
        return level if len(self.tasks) == 1 else 2.0

    def steps(self, network: str) -> list[Restorer]:
        """What ``msrn`` takes by default, or weights of another shape; none where there are none."""
        if network == "m4r1s2":
            return [Restorer(task) for task in self.tasks]
        return [Restorer(f"msrn-{network}-{self.tasks[0]}")] if self.tasks in (("sr",), ("denoise",), ("jpeg",)) else []


def reduced(clean: Pixels, scale: float, seed: int) -> Picture:
    """A small picture."""
    return Picture(to_uint8(resize(clean, 1 / scale)) / np.float32(255))


def noisy(clean: Pixels, sigma: float, seed: int) -> Picture:
    """A picture with noise, clipped and rounded."""
    noise = np.random.default_rng((seed, int(sigma))).standard_normal(clean.shape, np.float32)
    return Picture(to_uint8(clean + noise * np.float32(sigma / 255)) / np.float32(255))


def compressed(clean: Pixels, quality: float, seed: int) -> Picture:
    """A picture from a JPEG file."""
    file = BytesIO()
    Picture(clean).to_pil().save(file, "JPEG", quality=int(quality))
    return decode(file.getvalue(), Path("x.jpg"))


def photographed(clean: Pixels, sigma: float, seed: int) -> Picture:
    """Noise, below σ 25 with a JPEG of quality 80 over it."""
    with_noise = noisy(clean, sigma, seed)
    return compressed(with_noise.pixels, 80, seed) if sigma < 25 else with_noise


def small_jpeg(clean: Pixels, quality: float, seed: int) -> Picture:
    """Half as large, from a JPEG file."""
    return compressed(reduced(clean, 2, seed).pixels, quality, seed)


def small_photograph(clean: Pixels, sigma: float, seed: int) -> Picture:
    """Half as large, with noise and perhaps a JPEG."""
    return photographed(reduced(clean, 2, seed).pixels, sigma, seed)


CASES = [
    *(Case(("sr",), kind, (2, 3, 4), reduced) for kind in ("gray", "color")),
    *(Case(("denoise",), kind, (10, 25, 50), noisy) for kind in ("gray", "color")),
    *(Case(("jpeg",), kind, (10, 30, 60, 90), compressed) for kind in ("gray", "color")),
    Case(("photo",), "color", (10, 20, 30, 50), photographed),
    *(Case(("jpeg", "sr"), kind, (20, 50, 80), small_jpeg) for kind in ("gray", "color")),
    Case(("photo", "sr"), "color", (10, 30), small_photograph),
]


def pictures(folder: Path, kind: str) -> Iterator[Pixels]:
    """The pictures of a folder, ``(C, H, W)``: all as gray, or those in colours."""
    for path in list_images([folder], nested=True):
        pixels = images.read(path).pixels
        if kind == "color" and len(pixels) == 1:
            continue
        pixels = luminance(pixels, "full") if kind == "gray" and len(pixels) == 3 else pixels
        top, left = (max(0, (length - SIDE) // 2) for length in pixels.shape[1:])
        part = pixels[:, top : top + SIDE, left : left + SIDE]
        yield to_uint8(np.ascontiguousarray(part, dtype=np.float32)) / np.float32(255)


def patches(values: NDArray[Any]) -> NDArray[Any]:
    """Mean squares of ``(C, H, W)`` in each whole patch, in rows."""
    height, width = (length // PATCH for length in values.shape[1:])
    parts = values[:, : height * PATCH, : width * PATCH].reshape(-1, height, PATCH, width, PATCH)
    return (parts.astype(np.float64) ** 2).mean(axis=(0, 2, 4)).ravel()


def measured(case: Case, steps: list[Restorer], folders: Sequence[Path], level: float) -> Iterator[Measured]:
    """What is seen of each picture at a level, and its true errors."""
    every = (clean for folder in folders for clean in pictures(folder, case.kind))
    for number, clean in enumerate(every):
        scale = case.scale(level)
        clean = multiple_of(clean, int(scale)) if scale else clean
        damaged, (watched, features) = case.damage(clean, level, number), watch(steps)
        made = Chain(watched, "")(damaged, scale=scale)
        seen = seen_by(steps, features, damaged)
        height, width = (length // PATCH for length in clean.shape[1:])
        seen = seen._replace(maps=seen.maps[:, 2 : 4 * height : 4, 2 : 4 * width : 4].reshape(4, -1))
        difference = to_uint8(made.pixels).astype(np.float64) - to_uint8(clean)
        yield Measured(number, seen, np.sqrt(patches(difference)))


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Spearman's, of values that are hardly ever equal."""
    return float(np.corrcoef(*(np.argsort(np.argsort(each)) for each in (one, other)))[0, 1])


@dataclass
class Check:
    """What predictions are worth."""

    likely: list[NDArray[Any]] = field(default_factory=list)
    true: list[NDArray[Any]] = field(default_factory=list)
    exceeding: list[NDArray[Any]] = field(default_factory=list)
    """Logarithms of true errors by those that they are said to be below."""
    within: list[float] = field(default_factory=list)
    """Rank correlation in each picture."""
    wholes: list[bool] = field(default_factory=list)
    """Whether a picture's error is below what is said."""

    def add(self, calibration: Calibration, each: Measured) -> None:
        """Compare the prediction with the truth."""
        predicted = calibration.predict(each.seen)
        self.likely.append(predicted.likely)
        self.true.append(each.errors)
        self.exceeding.append(np.log(each.errors + 1e-3) - np.log(predicted.below + 1e-3))
        self.within.append(rank_correlation(predicted.likely, each.errors))
        self.wholes.append(rms(each.errors) <= predicted.picture_below)

    @property
    def coverage(self) -> float:
        """Share of the patches, each picture counting alike."""
        return float(np.mean([(each <= 0).mean() for each in self.exceeding]))

    def row(self) -> str:
        """The columns of a table."""
        together = rank_correlation(np.concatenate(self.likely), np.concatenate(self.true))
        return (
            f"{len(self.true)} | {together:.2f} | {np.mean(self.within):.2f} | {100 * self.coverage:.1f} % | "
            f"{sum(self.wholes)} of {len(self.wholes)}"
        )


HEAD = "pictures | rank correlation | within a picture | coverage | pictures below |\n|---|---|---|---|---|---|"


def chosen(options: argparse.Namespace) -> Iterator[tuple[Case, list[Restorer], Weights]]:
    """The cases that are asked for, their steps, and the weights of the last one."""
    for network in options.networks:
        for case in CASES:
            if "+".join(case.tasks) in options.cases and (steps := case.steps(network)):
                yield case, steps, (steps[-1].engine if case.kind == "gray" else steps[-1].color_engine).weights


def fit_all(options: argparse.Namespace) -> None:
    """Fit each case of each network."""
    print(f"| fitted to one half, checked on the other | {HEAD}" if options.halves else "fitting")
    for case, steps, weights in chosen(options):
        every = {level: list(measured(case, steps, options.folders, level)) for level in case.levels}
        if options.halves:
            halves(case.name, every)
        else:
            keep(case, weights, fit([each for level in every.values() for each in level]))


def keep(case: Case, weights: Weights, calibration: Calibration) -> None:
    """Write a calibration into the package."""
    known: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    entry = known.setdefault(weights.sha256[:8], {"network": weights.name})
    entry[kind_of(gray=case.kind == "gray", after=case.tasks[:-1])] = calibration.as_json()
    FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(case.name, calibration, flush=True)


def halves(name: str, every: dict[float, list[Measured]]) -> None:
    """Rows: pictures with odd numbers by what was fitted to those with even ones, and the other way round."""
    checks = {level: Check() for level in every}
    for odd in (0, 1):
        calibration = fit([each for level in every.values() for each in level if each.number % 2 != odd])
        for level, found in every.items():
            for each in found:
                if each.number % 2 == odd:
                    checks[level].add(calibration, each)
    for level, check in checks.items():
        print(f"| {name}, {level:g} | {check.row()} |", flush=True)


def check_all(options: argparse.Namespace) -> None:
    """Rows for pictures that nothing was calibrated on, and figures of them."""
    print(f"| result | {HEAD}")
    drawn = dict[str, list[tuple[Calibration, Measured]]]()
    for case, steps, weights in chosen(options):
        calibration = calibration_for(weights, kind_of(gray=case.kind == "gray", after=case.tasks[:-1]))
        total, every = Check(), drawn.setdefault(case.name, [])
        for level in case.levels:
            check = Check()
            for each in measured(case, steps, folders_for(case, options), level):
                check.add(calibration, each)
                total.add(calibration, each)
                every.append((calibration, each))
            print(f"| {case.name}, {level:g} | {check.row()} |", flush=True)
        print(f"| **{case.name}** | {total.row()} |", flush=True)
    if options.figures is not None:
        draw_checks(drawn, options.figures / "confidence.svg")


def folders_for(case: Case, options: argparse.Namespace) -> list[Path]:
    """Where the pictures of a case are that nothing was calibrated on."""
    if case.kind == "color":
        return [options.photographs]
    return [options.data / name for name in (["classic5"] if "jpeg" in case.tasks else ["set5", "s14"])]


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


def cost(options: argparse.Namespace) -> None:
    """Seconds of all cores with the estimate by those without it, in turn; and the peak of memory."""
    print("| network | time | memory |\n|---|---|---|")
    for task in ("sr", "jpeg"):
        restorer = Restorer(task, tile=options.tile)
        picture = Picture(np.random.default_rng(0).random((3, 320, 320), np.float32))
        how = {"scale": 2.0} if restorer.enlarges else {}
        times = np.array([[_seconds(restorer, picture, how, told) for told in (False, True)] for _ in range(6)])[1:]
        peaks = [_peak(task, told) for told in (False, True)]
        more = np.median(times[:, 1] / times[:, 0]) - 1
        print(f"| {task} | {100 * more:+.1f} % | {peaks[0]} → {peaks[1]} MB |", flush=True)


def _seconds(restorer: Restorer, picture: Picture, how: dict[str, Any], told: bool) -> float:
    started = time.process_time()
    if told:
        confidence.restore_with_confidence(restorer, picture, **how)
    else:
        restorer(picture, **how)
    return time.process_time() - started


_PEAK = """
import resource, sys
import numpy as np
from msrn.images.picture import Picture
from msrn.restoration.confidence import restore_with_confidence
from msrn.restoration.restorer import Restorer
task, told = sys.argv[1:]
restorer, side = Restorer(task), 1024 if task == "sr" else 2048
picture, how = Picture(np.full((3, side, side), 0.5, np.float32)), {"scale": 2.0} if task == "sr" else {}
if told == "True":
    restore_with_confidence(restorer, picture, **how)
else:
    restorer(picture, **how)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)
"""


def _peak(task: str, told: bool) -> int:
    """Megabytes of a process that makes 4 megapixels in colours."""
    return int(subprocess.run([sys.executable, "-c", _PEAK, task, str(told)], capture_output=True, check=True).stdout)


def main() -> None:
    """Fit, check, show or time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    fitting, checking, showing, timing = (commands.add_parser(name) for name in ("fit", "check", "show", "cost"))
    fitting.add_argument("folders", type=Path, nargs="+")
    fitting.add_argument("--halves", action="store_true")
    checking.add_argument("data", type=Path)
    checking.add_argument("photographs", type=Path)
    checking.add_argument("--figures", type=Path)
    showing.add_argument("picture", type=Path)
    showing.add_argument("output", type=Path)
    showing.add_argument("--quality", type=int, default=15)
    timing.add_argument("--tile", type=int, default=0)
    for each, run in ((fitting, fit_all), (checking, check_all), (showing, show), (timing, cost)):
        each.set_defaults(run=run)
        each.add_argument("--networks", nargs="+", default=["m4r1s2"])
        each.add_argument("--cases", nargs="+", default=sorted({"+".join(case.tasks) for case in CASES}))
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
