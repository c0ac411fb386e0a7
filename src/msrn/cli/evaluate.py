"""The command that scores weights, or whatever else restores."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from msrn.cli.console import Bar, say, show_log
from msrn.cli.options import TTA, AsJSON, BackendOption, Device, PrecisionOption, Quiet, Task, Tile, Verbose
from msrn.errors import ImageError, MSRNError, OutputError, UsageError

if TYPE_CHECKING:
    from msrn.evaluation.gallery import Gallery
    from msrn.evaluation.protocol import Protocol
    from msrn.evaluation.results import Evaluation, Timing


def evaluate(
    task: Annotated[Task, typer.Option("--task", help="Degradation and protocol.")],
    level: Annotated[list[float], typer.Option("--level", help="Scale, noise σ or JPEG quality; may be repeated.")],
    data: Annotated[list[Path], typer.Option("--data", help="Folder of clean images; may be repeated.")],
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", "-w", help="Weights or an .onnx file; may be repeated; by default the task's own."),
    ] = None,
    baseline: Annotated[bool, typer.Option("--baseline", help="Score the degraded input only.")] = False,
    restored: Annotated[Path | None, typer.Option("--restored", help="Score images that something else wrote.")] = None,
    function: Annotated[str | None, typer.Option("--callable", help="Score a Python function, module:name.")] = None,
    protocol: Annotated[
        Literal["matlab", "authors-tiles"], typer.Option("--protocol", help="Whole images, or the authors' tiles.")
    ] = "matlab",
    color: Annotated[bool, typer.Option("--color", help="Score R, G and B instead of luminance.")] = False,
    save_to: Annotated[Path | None, typer.Option("--save", help="Folder for the restored images.")] = None,
    report_to: Annotated[Path | None, typer.Option("--report", help="Folder for a page to look at.")] = None,
    tile: Tile = 0,
    device: Device = "auto",
    backend: BackendOption = "eager",
    precision: PrecisionOption = "fp32",
    tta: TTA = False,
    as_json: AsJSON = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table with the paper's.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row per image.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score weights on clean images, by the literature's protocol."""
    show_log(verbose, quiet)
    if sum((baseline, restored is not None, function is not None, bool(weights))) > 1:
        raise UsageError("give only one of --weights, --baseline, --restored and --callable")
    if tta and (baseline or restored or function or any(name.endswith(".onnx") for name in weights or [])):
        raise UsageError("--tta is for weights; what else is scored restores as it does")
    from msrn.evaluation import methods as known
    from msrn.evaluation import protocol as evaluation
    from msrn.evaluation import report, tables
    from msrn.evaluation.gallery import Gallery
    from msrn.evaluation.results import to_json

    for each in level:
        evaluation.check_level(task, each)
    sets = [evaluation.set_name(folder) for folder in data]
    if len(set(sets)) < len(sets):
        raise UsageError(f"two folders would both be called {max(sets, key=sets.count)!r}: evaluate them one by one")
    methods: list[Any] = [None]
    if restored is None and not baseline:
        options: dict[str, Any] = {"device": device, "backend": backend, "precision": precision}
        options |= {"tile": tile, "tta": tta}
        methods = known.choose(weights or [task], function, **options)
    for method in methods:
        evaluation.check_method(task, method, protocol)
    cases = _cases(methods, data, level, sets)
    if save_to is not None:
        saved = [(save_to / case.subfolder, case.folder) for case in cases]
        _check_targets(saved, [restored / case.subfolder for case in cases] if restored is not None else [])
    if report_to is not None:
        report.check_packages()
    gallery = Gallery()
    scoring = _Scoring(task, protocol, color, restored, save_to, gallery if report_to is not None else None, quiet)
    with Bar(quiet) as bar:
        results, lost = scoring.run(cases, bar)
    if not results:
        raise typer.Exit(lost[0].exit_code)
    results = evaluation.compare_with_first(results)
    if as_json:
        typer.echo(to_json(results))
    elif as_markdown:
        typer.echo(tables.markdown(results))
    elif as_csv:
        typer.echo(tables.comma_separated(results))
    else:
        typer.echo("\n\n".join(tables.text(result) for result in results))
        if not quiet:
            say(f"protocol: {results[0].protocol}")
    if report_to is not None:
        costs = {m.name: m.restorer.config.multiply_adds_per_pixel for m in methods if hasattr(m, "restorer")}
        command = shlex.join(["msrn", *sys.argv[1:]])
        say(f"report: {report.write_report(report_to, results, gallery, costs, command)}")
    if lost and isinstance(lost[-1], OutputError):
        raise typer.Exit(OutputError.exit_code)
    if lost or any(result.failures for result in results):
        raise typer.Exit(ImageError.exit_code)


class _Case(NamedTuple):
    """One method on one folder at one level."""

    method: Any
    """None scores the degraded images, or restored ones that are found in the subfolder."""
    folder: Path
    level: float
    title: str
    """What the bar calls it."""
    subfolder: str
    """Where its images are saved, or were."""


def _cases(methods: Sequence[Any], data: Sequence[Path], levels: Sequence[float], sets: Sequence[str]) -> list[_Case]:
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
