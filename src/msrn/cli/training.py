"""The commands that make weights: train, prepare, pack, schema."""

import os
import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from msrn.cli.console import Bar, say, show_log
from msrn.cli.options import AsJSON, DataRoot, Device, MaxPixels, Quiet
from msrn.errors import ImageError, UsageError

if TYPE_CHECKING:
    from msrn.training.recipe import Recipe

_SILENCE = 60.0
"""Seconds after which a run whose bar nobody sees says where it is."""
TrainingPrecision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"], typer.Option("--precision", help="Computing type; weights stay fp32.")
]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe.")]


def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe: a TOML file or a name; with --resume, the run's own by default.")
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(
            "--data-root",
            help="Where the recipe's image folders are, or a file from `msrn pack`; "
            "by default data, with --resume where the run last found them.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New run folder; runs/NAME by default.")] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Continue the run in a folder.")
    ] = None,
    settings: Settings = None,
    init_from: Annotated[str | None, typer.Option("--init-from", help="Start from weights (fine-tuning).")] = None,
    device: Device = "auto",
    precision: TrainingPrecision = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits every time on a GPU too; slower there.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves and pictures into the run.")] = False,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Stop after this long, with a checkpoint.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Processor threads; 0 = all.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Forecast time and memory; draw what the network will see.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train a recipe; interrupt it whenever you like, and go on."""
    from msrn.training import recipe_file as recipes

    if resume is not None and (output is not None or init_from is not None):
        raise UsageError("--resume continues a run as it is: it takes neither --output nor --init-from")
    if recipe is None and resume is None:
        raise UsageError("name a recipe, such as denoise_fast or a TOML file, or --resume a run")
    show_log(quiet=quiet)
    loaded = recipes.load(recipe or _recipe_of(resume), settings or [])
    run = resume or output or Path("runs") / loaded.name

    import torch

    from msrn.network import weights
    from msrn.training import log
    from msrn.training.log import Progress
    from msrn.training.setting import Computing
    from msrn.training.trainer import fit

    data_root = data_root or (log.data_root_of(run) if resume else None) or Path("data")

    if threads:
        torch.set_num_threads(threads)
    if dry_run:
        _forecast(loaded, data_root, run, device, precision)
        return
    initial = weights.load(init_from) if init_from else None
    said = time.monotonic()
    with Bar(quiet) as bar:

        def report(now: Progress) -> None:
            nonlocal said
            skipped = f"  {now.skipped} skipped" if now.skipped else ""
            if now.step:
                speed = f"loss {now.loss:.5f}  {now.patches_per_second:.0f} patches/s{skipped}"
                bar.show(f"step {now.step} of {now.steps}  {speed}", now.step / now.steps)
                if not (bar.shown or quiet) and time.monotonic() - said > _SILENCE:
                    said = time.monotonic()
                    bar.say(f"step {now.step} of {now.steps}  {speed}")
            if now.scores and not quiet:
                scores = "  ".join(f"{level}: {score:.3f} dB" for level, score in now.scores.items())
                steps = f"step {now.step}  loss {now.loss:.5f}  rate {now.rate:.2e}" if now.step else "before training"
                bar.say(f"{steps}  held-out {scores}{skipped}")

        options = ["--data-root", str(data_root), *_computing(device, precision, compiled)]
        options += ["--deterministic"] if deterministic else []
        options += ["--tensorboard"] if tensorboard else []
        options += ["--threads", str(threads)] if threads else []
        try:
            made = fit(
                loaded,
                data_root,
                run,
                Computing(device, precision, compiled, deterministic),
                resume=resume is not None,
                initial=initial,
                tensorboard=tensorboard,
                minutes=minutes,
                report=report,
            )
        except KeyboardInterrupt:
            with suppress(OSError):  # of a terminal that was closed
                _say_how_to_go_on("interrupted", run, options)
            raise typer.Exit(130) from None
    if made.step < loaded.optimiser.steps and not quiet:
        _say_how_to_go_on("the minutes are over", run, options)
    typer.echo(str(run))


def _say_how_to_go_on(why: str, run: Path, options: list[str]) -> None:
    from msrn.training import checkpoint

    newest = checkpoint.latest(run)
    if os.environ.get("RANK", "0") != "0":
        return
    if newest is None:
        say(f"msrn: {why} before the first step")
        return
    command = shlex.join(["msrn", "train", "--resume", str(run), *options])
    say(f"msrn: {why} at step {int(newest.stem.rpartition('-')[2])}; go on with: {command}")


def _computing(device: str, precision: str, compiled: bool) -> list[str]:
    """The options that say how to compute, as far as they were given."""
    options = [("--device", device), ("--precision", precision)]
    given = [word for option, value in options if value != "auto" for word in (option, value)]
    return [*given, "--compile"] if compiled else given


def _recipe_of(run: Path | None) -> Path:
    """The recipe of a run, as it keeps it."""
    path = (run or Path()) / "recipe.json"
    if not path.is_file():
        raise UsageError(f"nothing to resume in {run}: it holds no run")
    return path


def _forecast(recipe: "Recipe", data_root: Path, run: Path, device: str, precision: str) -> None:
    from msrn import images
    from msrn.images.picture import Picture
    from msrn.restoration.backends.pytorch import choose_device
    from msrn.training import dry_run
    from msrn.training.loader import load_material
    from msrn.training.setting import Setting, choose_training_precision

    target = choose_device(device)
    setting = Setting(target, choose_training_precision(target, precision))
    material = load_material(recipe, data_root, target)
    run = run.resolve()  # "." has no name
    path = run.with_name(f"{run.name}-dry_run.png")
    images.write(Picture(dry_run.sheet(material, recipe.optimiser.batch)), path)
    expected = dry_run.forecast_training(recipe, material, setting)
    epochs = f", {expected.epochs:.1f} epochs" if expected.epochs else ""
    memory = f"; {expected.peak_bytes / 2**30:.2f} GiB" if expected.peak_bytes else ""
    typer.echo(f"{recipe.name}: {expected.parameters:,} parameters, {recipe.optimiser.steps:,} steps{epochs}")
    typer.echo(
        f"{expected.hours:.2f} hours at {expected.patches_per_second:.1f} patches/s on {target} "
        f"({str(setting.precision).removeprefix('torch.')}), {expected.data_share:.0%} of it drawing patches"
        f"{memory}"
    )
    typer.echo(f"what the network sees (above) and should see (below): {path}")


def prepare(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the shards.")],
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Folders, or known sets such as DIV2K.")
    ] = None,
    data_root: Annotated[Path, typer.Option("--data-root", help="Where the known sets lie.")] = Path("data"),
    crop: Annotated[int, typer.Option("--crop", min=0, help="Cut larger images into pieces; 0 keeps files.")] = 0,
    min_side: Annotated[int, typer.Option("--min-side", min=1, help="Leave smaller images out.")] = 64,
    max_pixels: MaxPixels = 100_000_000,
    shard_size: Annotated[int, typer.Option("--shard-size", min=1, help="MiB of images per shard.")] = 256,
    only_verify: Annotated[bool, typer.Option("--verify", help="Only check finished shards.")] = False,
    as_json: AsJSON = False,
    quiet: Quiet = False,
) -> None:
    """Put training images into WebDataset shards; run again to go on."""
    import json
    from dataclasses import asdict

    from msrn.training import known_sets, shards

    if only_verify:
        wrong = shards.verify(output)
        for line in wrong:
            say(f"msrn: error: {line}")
        if wrong:
            raise typer.Exit(ImageError.exit_code)
        say(f"{output}: all shards are as written")
        return
    if not sources:
        raise UsageError("name the folders or known sets to take images from")
    for source in sources:
        known = known_sets.DATASETS.get(source.lower())
        if known and known.evaluation and not Path(source).is_dir():
            say(f"msrn: warning: {source} is what the field scores on; do not train on it")
    found = [known_sets.locate(source, data_root) for source in sources]
    with Bar(quiet) as bar:
        done = shards.prepare(
            found,
            output,
            shard_bytes=shard_size * 2**20,
            min_side=min_side,
            crop=crop,
            max_pixels=max_pixels,
            report=lambda done, total, name: bar.show(name, done / total),
        )
    for skipped in done.skipped:
        say(f"msrn: skipped {skipped['source']}: {skipped['reason']}")
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=2, ensure_ascii=False))
    else:
        kept = f" ({done.kept_shards} were there already)" if done.kept_shards else ""
        typer.echo(f"{done.images} images in {done.shards} shards{kept}, {len(done.skipped)} skipped -> {output}")


def pack(
    recipe: Annotated[Path, typer.Argument(help="Recipe whose images to pack.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The pack, an .npz file.")],
    data_root: DataRoot = Path("data"),
    settings: Settings = None,
) -> None:
    """Put a recipe's training images into one file, ready to carry."""
    from msrn.training import recipe_file as recipes
    from msrn.training.loader import sources_of
    from msrn.training.patches import read_folders, save_pack

    wanted = recipes.load(recipe, settings or [])
    folders = [Path(source) for source in sources_of(wanted.data.folders, data_root)]
    packed = read_folders(folders, wanted.network.in_channels, wanted.data.luminance)
    save_pack(packed, output)
    say(f"{len(packed.images)} images -> {output}")


def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    import json

    from msrn.training import recipe_file as recipes

    typer.echo(json.dumps(recipes.schema(), indent=2, ensure_ascii=False))
