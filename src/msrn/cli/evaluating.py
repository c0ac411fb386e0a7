"""The command that scores weights, or whatever else restores."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import Parameter

from msrn.cli import options
from msrn.cli.console import Bar, print_data, say, show_log
from msrn.cli.options import ADVANCED, FILES, QUALITY, SCORED, SPEED
from msrn.errors import ImageError, MSRNError, OutputError, UsageError
from msrn.types import Task

if TYPE_CHECKING:
    from msrn.evaluation.gallery import Gallery
    from msrn.evaluation.methods import Method
    from msrn.evaluation.protocol import Protocol
    from msrn.evaluation.results import Evaluation, Timing


@Parameter(name="*", group=SCORED)
@dataclass(frozen=True, kw_only=True)
class ScoredOptions:
    """Options on what is scored, of which one may be given; by default the task's own weights are."""

    weights: Annotated[list[str] | None, Parameter(alias="-w")] = None
    """Weights or an .onnx file; may be repeated; by default the task's own."""
    baseline: bool = False
    """Score the degraded input only."""
    restored: Path | None = None
    """Score images that something else wrote."""
    function: Annotated[str | None, Parameter(name="--callable", metavar="MODULE:NAME")] = None
    """Score a Python function, module:name."""

    def check(self, tta: bool) -> None:
        """Raise :class:`UsageError` for two of them, and where ``tta`` does not go with what is scored."""
        others = (self.baseline, self.restored is not None, self.function is not None)
        if sum((*others, bool(self.weights))) > 1:
            raise UsageError("give only one of --weights, --baseline, --restored and --callable")
        if tta and (any(others) or any(name.endswith(".onnx") for name in self.weights or [])):
            raise UsageError("--tta is for weights; what else is scored restores as it does")


@Parameter(name="*", group=SPEED)
@dataclass(frozen=True, kw_only=True)
class EvaluationSpeedOptions:
    """Options on what computes, and how; by default what rounds least."""

    device: options.Device = "auto"
    backend: options.Backend = "eager"
    precision: options.NetworkPrecision = "fp32"
    tile: options.Tile = 0


@Parameter(name="*", group=ADVANCED)
@dataclass(frozen=True, kw_only=True)
class PrintOptions:
    """Options on what is printed."""

    as_json: options.AsJSON = False
    as_markdown: Annotated[bool, Parameter(name="--markdown")] = False
    """Print a Markdown table with the paper's."""
    as_csv: Annotated[bool, Parameter(name="--csv")] = False
    """Print CSV, one row per image."""
    quiet: options.Quiet = False
    verbose: options.Verbose = False


def evaluate(
    *,
    task: Annotated[Task, Parameter(group=FILES)],
    level: Annotated[list[float], Parameter(group=FILES)],
    data: Annotated[list[Path], Parameter(group=FILES)],
    save: Annotated[Path | None, Parameter(group=FILES)] = None,
    report: Annotated[Path | None, Parameter(group=FILES)] = None,
    scored: ScoredOptions = ScoredOptions(),
    protocol: Annotated[Literal["matlab", "authors-tiles"], Parameter(group=QUALITY)] = "matlab",
    color: Annotated[bool, Parameter(group=QUALITY)] = False,
    tta: options.TTA = False,
    speed: EvaluationSpeedOptions = EvaluationSpeedOptions(),
    form: PrintOptions = PrintOptions(),
) -> None:
    """Score weights on clean images, by the literature's protocol.

    $ msrn evaluate --task sr --level 3 --data ~/data/set5
    $ msrn evaluate --task jpeg --level 10 --data ~/data/classic5 --baseline

    Args:
        task: Degradation and protocol.
        level: Scale, noise σ or JPEG quality; may be repeated.
        data: Folder of clean images; may be repeated.
        save: Folder for the restored images.
        report: Folder for a page to look at.
        protocol: Whole images, or the authors' tiles.
        color: Score R, G and B instead of luminance.
    """
    show_log(form.verbose, form.quiet)
    scored.check(tta)
    from msrn.evaluation import protocol as evaluation
    from msrn.evaluation.gallery import Gallery
    from msrn.evaluation.report import check_packages

    for each in level:
        evaluation.check_level(task, each)
    sets = _set_names(data)
    methods = _methods(task, scored, speed, tta)
    for method in methods:
        evaluation.check_method(task, method, protocol)
    cases = _cases(methods, data, level, sets)
    if save is not None:
        saved = [(save / case.subfolder, case.folder) for case in cases]
        read = [scored.restored / case.subfolder for case in cases] if scored.restored is not None else []
        _check_targets(saved, read)
    if report is not None:
        check_packages()
    gallery = Gallery()
    scoring = _Scoring(task, protocol, color, scored.restored, save, gallery if report else None, form.quiet)
    with Bar(form.quiet) as bar:
        results, lost = scoring.run(cases, bar)
    if not results:
        raise SystemExit(lost[0].exit_code)
    results = evaluation.compare_with_first(results)
    _print(results, form)
    if report is not None:
        _write_report(report, results, gallery, methods)
    if lost and isinstance(lost[-1], OutputError):
        raise SystemExit(OutputError.exit_code)
    if lost or any(result.failures for result in results):
        raise SystemExit(ImageError.exit_code)


def _set_names(data: Sequence[Path]) -> list[str]:
    from msrn.evaluation.protocol import set_name

    sets = [set_name(folder) for folder in data]
    if len(set(sets)) < len(sets):
        raise UsageError(f"two folders would both be called {max(sets, key=sets.count)!r}: evaluate them one by one")
    return sets


def _methods(task: Task, scored: ScoredOptions, speed: EvaluationSpeedOptions, tta: bool) -> "Sequence[Method | None]":
    """What restores; None where the degraded or restored images themselves are scored."""
    from msrn.evaluation.methods import choose

    if scored.restored is not None or scored.baseline:
        return [None]
    return choose(
        scored.weights or [task],
        scored.function,
        device=speed.device,
        backend=speed.backend,
        precision=speed.precision,
        tile=speed.tile,
        tta=tta,
    )


def _print(results: "Sequence[Evaluation]", form: PrintOptions) -> None:
    from msrn.evaluation import tables
    from msrn.evaluation.results import to_json

    if form.as_json:
        print_data(to_json(results))
    elif form.as_markdown:
        print_data(tables.markdown(results))
    elif form.as_csv:
        print_data(tables.comma_separated(results))
    else:
        print_data("\n\n".join(tables.text(result) for result in results))
        if not form.quiet:
            say(f"protocol: {results[0].protocol}")


def _write_report(
    folder: Path, results: "Sequence[Evaluation]", gallery: "Gallery", methods: "Sequence[Method | None]"
) -> None:
    from msrn.evaluation.methods import WeightsMethod
    from msrn.evaluation.report import write_report

    costs = {
        method.name: method.restorer.config.multiply_adds_per_pixel
        for method in methods
        if isinstance(method, WeightsMethod)
    }
    command = shlex.join(["msrn", *sys.argv[1:]])
    say(f"report: {write_report(folder, results, gallery, costs, command)}")


class _Case(NamedTuple):
    """One method on one folder at one level."""

    method: "Method | None"
    """None scores the degraded images, or restored ones that are found in the subfolder."""
    folder: Path
    level: float
    title: str
    """What the bar calls it."""
    subfolder: str
    """Where its images are saved, or were."""


def _cases(
    methods: "Sequence[Method | None]", data: Sequence[Path], levels: Sequence[float], sets: Sequence[str]
) -> list[_Case]:
    """All combinations, each with a subfolder of its own unless there is but one."""
    places = [(folder, each, f"{name}-{each:g}") for folder, name in zip(data, sets, strict=True) for each in levels]

    def subfolder(number: int, place: str) -> str:
        if len(methods) > 1:
            return f"{number}-{place}"
        return place if len(places) > 1 else ""

    return [
        _Case(method, folder, each, place, subfolder(number, place))
        for number, method in enumerate(methods, start=1)
        for folder, each, place in places
    ]


class _Scoring(NamedTuple):
    """How cases are scored, and what is kept of them."""

    task: Task
    protocol: "Protocol"
    color: bool
    restored: Path | None
    save_to: Path | None
    gallery: "Gallery | None"
    quiet: bool

    def run(self, cases: Sequence[_Case], bar: Bar) -> "tuple[list[Evaluation], list[MSRNError]]":
        """Score the cases; one that fails is an error that is said and returned.

        The others are still scored, unless images can no longer be saved.
        """
        results: list[Evaluation] = []
        lost: list[MSRNError] = []
        several = len({id(case.method) for case in cases}) > 1
        for number, case in enumerate(cases):

            def advance(done: int, total: int, number: int = number, title: str = case.title) -> None:
                bar.show(title, (number + done / total) / len(cases))

            try:
                result = self._score(case, advance)
            except (UsageError, ImageError, OutputError) as error:
                lost.append(error)
                bar.say(f"msrn: error: {error}")
                if isinstance(error, OutputError):  # nothing more can be saved; what is complete is printed
                    break
                continue
            results.append(result)
            for failure in result.failures:
                bar.say(f"msrn: error: {failure.name}: {failure.error}")
            if result.timing and result.speed and not self.quiet:
                bar.say(_speed(result, result.timing, case, several))
        return results, lost

    def _score(self, case: _Case, advance: Callable[[int, int], None]) -> "Evaluation":
        from msrn import images
        from msrn.evaluation import protocol as evaluation
        from msrn.evaluation.methods import FolderMethod

        def observe(path: Path, *planes: Any) -> None:
            if self.save_to is not None:
                target = self.save_to / case.subfolder / f"{path.stem}.png"
                images.write(evaluation.as_picture(planes[1], self.task), target)
            if self.gallery is not None:
                self.gallery.add(path.name, *planes)

        try:
            method = case.method
            if self.restored is not None:
                colors = evaluation.color_range(self.task)
                method = FolderMethod(self.restored / case.subfolder, colors, case.folder)
            options: dict[str, Any] = {"protocol": self.protocol, "color": self.color}
            result = evaluation.evaluate(self.task, case.level, case.folder, method, advance, observe, **options)
        except MSRNError:
            if self.gallery is not None:
                self.gallery.discard()
            raise
        if self.gallery is not None:
            self.gallery.finish()
        return result


def _speed(result: "Evaluation", timing: "Timing", case: _Case, several: bool) -> str:
    from msrn.evaluation import tables

    whose = f"{tables.method_name(result)}, " if several else ""
    speed = f"{timing.seconds:.1f} s, {timing.megapixels_per_second:.2f} megapixels per second"
    return f"{whose}{case.title}: {speed}"


def _check_targets(saved: Sequence[tuple[Path, Path]], restored: Sequence[Path]) -> None:
    """Raise :class:`UsageError` where saved images would replace images that are read, or each other.

    Args:
        saved: folders to save to, and the folder of originals of each.
        restored: folders of restored images that are read.
    """
    from msrn.images.folder import list_images

    read = {path.resolve() for folder in {clean for _, clean in saved} for path in list_images([folder])}
    read |= {path.resolve() for folder in restored if folder.is_dir() for path in folder.iterdir()}
    for target, clean in saved:
        seen: set[Path] = set()
        for image in list_images([clean]):
            path = (target / f"{image.stem}.png").resolve()
            if path in read:
                raise UsageError(f"--save would replace {path}, which is read: choose another folder")
            if path in seen:
                raise UsageError(f"{clean} holds several images called {image.stem!r}: --save needs names of their own")
            seen.add(path)
