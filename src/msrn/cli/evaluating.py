"""The command that scores weights, or whatever else restores."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

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
    from msrn.evaluation.results import Evaluation
    from msrn.images.picture import FloatArray


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

    def check(self, tta: bool, speed: "EvaluationSpeedOptions") -> None:
        """Raise :class:`UsageError` for two of them, and where ``tta`` or ``speed`` has no say in what is scored."""
        others = (self.baseline, self.restored is not None, self.function is not None)
        if sum((*others, bool(self.weights))) > 1:
            raise UsageError("give only one of --weights, --baseline, --restored and --callable")
        foreign = [name.endswith(".onnx") for name in self.weights or []]
        if tta and (any(others) or any(foreign)):
            raise UsageError("--tta is for weights; what else is scored restores as it does")
        if speed != EvaluationSpeedOptions() and (any(others) or (foreign and all(foreign))):
            raise UsageError("--device, --backend, --precision and --tile are for weights: leave them out")


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
    scored.check(tta, speed)
    from msrn.evaluation.methods import choose
    from msrn.evaluation.protocol import check_level, check_method, compare_with_first
    from msrn.evaluation.report import check_packages

    for each in level:
        check_level(task, each)
    nothing = scored.baseline or scored.restored is not None  # restores here
    named = scored.weights or [task]
    methods = [None] if nothing else choose(named, scored.function, tta=tta, **vars(speed))
    for method in methods:
        check_method(task, method, protocol)
    cases = _cases(methods, data, level)
    scoring = _Scoring(task, protocol, color, scored.restored, save, report, form.quiet)
    scoring.check_targets(cases)
    if report is not None:
        check_packages()
    with Bar(form.quiet) as bar:
        done, lost = scoring.run(cases, bar)
    if not done:
        raise SystemExit(lost[0].exit_code)
    results = compare_with_first([result for result, _ in done])
    _print(results, form)
    if report is not None:
        _write_report(report, results, [gallery for _, gallery in done], methods)
    if lost and isinstance(lost[-1], OutputError):
        raise SystemExit(OutputError.exit_code)
    if lost or any(result.failures for result in results):
        raise SystemExit(ImageError.exit_code)


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
    folder: Path,
    results: "Sequence[Evaluation]",
    galleries: "Sequence[Gallery]",
    methods: "Sequence[Method | None]",
) -> None:
    from msrn.evaluation.methods import WeightsMethod
    from msrn.evaluation.report import write_report

    costs = {m.name: m.restorer.config.multiply_adds_per_pixel for m in methods if isinstance(m, WeightsMethod)}
    command = shlex.join(["msrn", *sys.argv[1:]])
    say(f"report: {write_report(folder, results, galleries, costs, command)}")


class _Case(NamedTuple):
    """One method on one folder at one level."""

    method: "Method | None"
    """None scores the degraded images, or restored ones that are found in the subfolder."""
    folder: Path
    level: float
    title: str
    """What the bar calls it."""
    subfolder: str
    """Where its images are saved, or were; empty if there is but one case."""


def _cases(methods: "Sequence[Method | None]", data: Sequence[Path], levels: Sequence[float]) -> list[_Case]:
    """All combinations, each with a subfolder of its own unless there is but one."""
    from msrn.evaluation.protocol import set_name

    sets = [set_name(folder) for folder in data]
    if len(set(sets)) < len(sets):
        raise UsageError(f"two folders would both be called {max(sets, key=sets.count)!r}: evaluate them one by one")
    cases: list[_Case] = []
    for number, method in enumerate(methods, start=1):
        for folder, name in zip(data, sets, strict=True):
            for level in levels:
                title = f"{name}-{level:g}"
                cases.append(_Case(method, folder, level, title, f"{number}-{title}" if len(methods) > 1 else title))
    return [cases[0]._replace(subfolder="")] if len(cases) == 1 else cases


class _Scoring(NamedTuple):
    """How cases are scored, and what is kept of them."""

    task: Task
    protocol: "Protocol"
    color: bool
    restored: Path | None
    save: Path | None
    report: Path | None
    quiet: bool

    def check_targets(self, cases: Sequence[_Case]) -> None:
        """Raise :class:`UsageError` where saved images would replace images that are read, or each other."""
        from msrn.images.folder import list_images

        if self.save is None:
            return
        clean = {case.folder: list_images([case.folder]) for case in cases}
        read = {path.resolve() for paths in clean.values() for path in paths}
        for folder in (self.restored / case.subfolder for case in cases if self.restored is not None):
            read |= {path.resolve() for path in folder.iterdir()} if folder.is_dir() else set()
        for case in cases:
            targets = [(self.save / case.subfolder / f"{path.stem}.png").resolve() for path in clean[case.folder]]
            for target in targets:
                if target in read:
                    raise UsageError(f"--save would replace {target}, which is read: choose another folder")
                if targets.count(target) > 1:
                    several = f"{case.folder} holds several images called {target.stem!r}"
                    raise UsageError(f"{several}: --save needs names of their own")

    def run(self, cases: Sequence[_Case], bar: Bar) -> "tuple[list[tuple[Evaluation, Gallery]], list[MSRNError]]":
        """Score the cases; one that fails is an error that is said and returned.

        The others are still scored, unless images can no longer be saved.
        """
        from msrn.evaluation.tables import full_name

        done: list[tuple[Evaluation, Gallery]] = []
        lost: list[MSRNError] = []
        for number, case in enumerate(cases):
            try:
                result, gallery = self._score(case, bar, number / len(cases), 1 / len(cases))
            except (UsageError, ImageError, OutputError) as error:
                lost.append(error)
                bar.say(f"msrn: error: {error}")
                if isinstance(error, OutputError):  # nothing more can be saved; what is complete is printed
                    break
                continue
            done.append((result, gallery))
            for failure in result.failures:
                bar.say(f"msrn: error: {failure.name}: {failure.error}")
            if result.duration and result.speed and not self.quiet:
                speed = f"{result.duration.seconds:.1f} s, {result.speed:.2f} megapixels per second"
                bar.say(f"{full_name(result)}: {speed}")
        return done, lost

    def _score(self, case: _Case, bar: Bar, before: float, part: float) -> "tuple[Evaluation, Gallery]":
        """Score one case, which is a part of the bar."""
        from msrn import images
        from msrn.evaluation import protocol as evaluation
        from msrn.evaluation.gallery import Gallery
        from msrn.evaluation.methods import FolderMethod

        gallery = Gallery()

        def observe(path: Path, degraded: "FloatArray", restored: "FloatArray", clean: "FloatArray") -> None:
            if self.save is not None:
                target = self.save / case.subfolder / f"{path.stem}.png"
                images.write(evaluation.as_picture(restored, self.task), target, overwrite=True)
            if self.report is not None:
                gallery.add(path.name, degraded, restored, clean)

        def advance(done: int, total: int) -> None:
            bar.show(case.title, before + part * done / total)

        method = case.method
        if self.restored is not None:
            method = FolderMethod(self.restored / case.subfolder, evaluation.color_range(self.task), case.folder)
        given = (self.task, case.level, case.folder, method, advance, observe)
        return evaluation.evaluate(*given, protocol=self.protocol, color=self.color), gallery
