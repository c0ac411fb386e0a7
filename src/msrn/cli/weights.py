"""The commands for weights: weights, export, publish."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from msrn.cli import options
from msrn.cli.console import Bar, print_data, say, show_log
from msrn.cli.options import FILES, QUALITY, SPEED
from msrn.errors import OutputError, UsageError
from msrn.types import ExportFormat

if TYPE_CHECKING:
    from msrn.network.weights import Weights


def weights(
    name: Annotated[str | None, Parameter(group=FILES)] = None,
    /,
    *,
    measure: Annotated[bool, Parameter(group=SPEED)] = False,
    as_json: options.AsJSON = False,
) -> None:
    """List the weights that come with the package, or describe one.

    $ msrn weights
    $ msrn weights sr

    Args:
        name: Weights to describe; all are listed without it.
        measure: Time those that have not run here yet.
    """
    from dataclasses import asdict

    from msrn.network.weights import load

    show_log()
    if name is None:
        _list(measure, as_json)
        return
    if measure:
        raise UsageError(f"--measure times all weights for their list: leave {name!r} out")
    loaded = load(name)
    if as_json:
        card = asdict(loaded.card) | {"sha256": loaded.sha256, "file": loaded.name}
        print_data(json.dumps(card, indent=2))
        return
    _print_card(loaded)


def _list(measure: bool, as_json: bool) -> None:
    """Print what there is: what it is good for, when to take it, and what it costs here."""
    from dataclasses import asdict

    from msrn.evaluation.tables import align
    from msrn.network.catalogue import CATALOGUE
    from msrn.network.weights import load
    from msrn.restoration.costs import costs_here
    from msrn.restoration.engine import Engine

    engines = [Engine(load(row.name)) for row in CATALOGUE]
    if measure:
        with Bar(quiet=as_json) as bar:
            for number, (row, engine) in enumerate(zip(CATALOGUE, engines, strict=True)):
                bar.show(f"timing {row.name}", number / len(engines))
                engine.forecast(1, 1024, 1024)
    rows: list[dict[str, object]] = []
    defaults: set[str] = set()
    for row, cost in zip(CATALOGUE, costs_here(engines), strict=True):
        default = "" if row.kind in defaults else row.kind
        defaults.add(row.kind)
        told = {"default for": default, "good for": row.summary.partition(";")[0]}
        seconds = {"seconds_per_megapixel": cost.seconds, "timed_here": cost.timed}
        rows.append(
            {
                **asdict(row),
                **told,
                **seconds,
                "s/MP here": f"{cost.seconds:.2f}" if cost.timed else f"~{cost.seconds:.1g}",
            }
        )
    if as_json:
        print_data(json.dumps(rows, indent=2))
        return
    print_data(align(rows, ["name", "default for", "good for", "s/MP here"]))
    print_data(
        "\nTake the default (m4) unless quality counts more than time: m6 is better by 0.12 to 0.23 dB. Pictures with\n"
        "colours take the weights for colours by themselves. s/MP: seconds per megapixel of the result, for one plane\n"
        "(or R, G and B together); with ~ it is an estimate for what has not been timed here yet (--measure times it)."
    )


def _print_card(weights: "Weights") -> None:
    """Print what a weights file says of itself."""
    card, network = weights.card, weights.card.config
    print_data(f"{weights.name}\n  sha256   {weights.sha256}\n  task     {card.task}")
    parts = [f"{network.memory_blocks} memory blocks", f"recursions: {network.recursions}"]
    parts += [f"{network.channels} channels", "R, G and B together" if network.in_channels == 3 else "single planes"]
    parts += [f"on squares of {network.unshuffle}×{network.unshuffle} pixels"] if network.unshuffle > 1 else []
    parts += [] if network.multi_supervised else ["one image only supervised"]
    print_data(f"  network  {', '.join(parts)}; {network.multiply_adds_per_pixel:,} multiply-adds per pixel")
    print_data(f"  storage  {weights.storage}")
    print_data(f"  levels   {', '.join(dict.fromkeys(f'{level:g}' for level in card.levels))}")
    training = ", ".join(f"{key} {value}" for key, value in card.training.items() if key != "curve")
    print_data(f"  data     {card.data}\n  training {training or 'unknown'}\n  licence  {card.licence}")
    for data, levels in card.scores.items():
        for level, scores in levels.items():
            mean, base = scores["mean"], scores["baseline"]
            print_data(
                f"  {data:<9}{level:>4}  {mean['psnr']:.2f} dB / {mean['ssim']:.4f}"
                f"   (degraded {base['psnr']:.2f} / {base['ssim']:.4f})"
            )
    for precision, losses in card.costs.items():
        text = ", ".join(f"{loss:.4f} dB at {at}" for at, loss in losses.items())
        print_data(f"  {precision:<9} costs {text} (images held out of training)")


def export(
    name: Annotated[str, Parameter(name="WEIGHTS", group=FILES)],
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o", group=FILES)],
    kind: Annotated[ExportFormat | None, Parameter(name=("--format", "-f"), group=FILES)] = None,
    scale: Annotated[float | None, Parameter(alias="-s", group=QUALITY, converter=options.factor)] = None,
    precision: Annotated[Literal["fp32", "int8"], Parameter(group=QUALITY)] = "fp32",
    runtime: Annotated[Path | None, Parameter(group=FILES)] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write weights for another program, and check what it computes.

    $ msrn export sr -o sr.onnx
    $ msrn export denoise-color -o denoise.dtmodel

    Args:
        name: A name from `msrn weights`, or a file.
        output: The file: .onnx, .xml (OpenVINO), .pt2 (torch.export), .dtmodel (darktable), .safetensors (spandrel);
            a folder for web.
        kind: onnx, openvino, torch, darktable, spandrel; image for an .onnx of RGB pictures; web for a page
            that restores in a browser. By the file's name without it.
        scale: Enlargement inside an image or page, 2 by default.
        precision: int8 for OpenVINO rounds to 8 bit as the package does.
        runtime: npm's onnxruntime-web for web: its .tgz, or unpacked.
    """
    from msrn.network.weights import load
    from msrn.restoration.export import export as write

    show_log()
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists; use --overwrite")
    difference = write(load(name), output, kind, scale=scale, precision=precision, runtime=runtime)
    print_data(str(output))
    say(f"msrn: differs from the package by {difference:.1e} at most on 20 random sizes, where white is 1")


def publish(
    run: Annotated[Path, Parameter(group=FILES)],
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o", group=FILES)],
    data_root: Annotated[Path | None, Parameter(group=FILES)] = None,
    data_name: Annotated[str, Parameter(group=FILES)] = "",
    licence: Annotated[str | None, Parameter(group=FILES)] = None,
    data: Annotated[list[Path] | None, Parameter(group=QUALITY)] = None,
    level: Annotated[list[float] | None, Parameter(group=QUALITY)] = None,
    half: Annotated[bool, Parameter(group=QUALITY)] = False,
) -> None:
    """Turn a run into a weights file with its card and scores.

    $ msrn publish runs/mine -o weights --data-root ~/data
    $ msrn publish runs/mine -o weights --data ~/data/set5 --level 2

    Args:
        run: A run folder, one checkpoint, or a weights file to complete.
        output: Folder for the weights file.
        data_root: Where the recipe's images are: measures what int8 and bf16 cost.
        data_name: Name of the training data in the file name.
        licence: Licence of the weights; Apache-2.0 by default.
        data: Folder of clean images to score on; may be repeated.
        level: Level to score at; may be repeated.
        half: Round weights to float16: half the file, to be measured anew.
    """
    from msrn.training.publish import publish as publish_run

    path, card = publish_run(
        run,
        output,
        data_root=data_root,
        data_name=data_name,
        licence=licence,
        scores_on=data or [],
        levels=level or [],
        half=half,
    )
    print_data(str(path))
    if not card.scores:
        say("msrn: note: its card has no scores; --data and --level measure them")
    if not card.costs:
        say(
            "msrn: note: its card does not say what int8 and bf16 cost, so only fp32 is chosen; --data-root measures it"
        )
    for name, levels in card.scores.items():
        for at, scores in levels.items():
            say(f"{name} {at}: {scores['mean']['psnr']:.2f} dB (degraded {scores['baseline']['psnr']:.2f})")
    for precision, losses in card.costs.items():
        say(f"{precision} costs " + ", ".join(f"{loss:.4f} dB at {at}" for at, loss in losses.items()))
