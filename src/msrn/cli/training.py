"""The commands that make weights: train, prepare, pack, schema."""

import json
import os
import shlex
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from msrn.cli import options
from msrn.cli.console import Bar, print_data, say, show_log
from msrn.cli.options import ADVANCED, FILES, LIMITS, SPEED, at_least
from msrn.errors import ImageError, UsageError
from msrn.types import MAX_TRAINING_PIXELS

if TYPE_CHECKING:
    from msrn.training.log import Progress
    from msrn.training.recipe import Recipe
    from msrn.training.setting import Computing

_SILENCE = 60.0
"""Seconds after which a run whose bar nobody sees says where it is."""

DataRoot = Annotated[
    Path, Parameter(group=FILES, help="Folder of the recipe's image sets, or a file from `msrn pack`.")
]
Settings = Annotated[
    list[str] | None,
    Parameter(name="--set", group=FILES, metavar="KEY=VALUE", help="Change the recipe; may be repeated."),
]


@Parameter(name="*", group=SPEED)
@dataclass(frozen=True, kw_only=True)
class TrainingSpeedOptions:
    """Options on what computes, and how; a resumed run needs them again."""

    device: options.Device = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Computing type; weights stay fp32."""
    compile: bool = False
    """Use torch.compile."""
    deterministic: bool = False
    """The same bits every time on a GPU too; slower there."""
    threads: Annotated[int, Parameter(validator=at_least(0))] = 0
    """Processor threads; 0 = all."""
    tensorboard: Annotated[bool, Parameter(group=ADVANCED)] = False
    """Write curves and pictures into the run."""

    def words(self) -> list[str]:
        """The options that were given, as they are typed."""
        given = {f"--{each.name}": getattr(self, each.name) for each in fields(self)}
        defaults = [each.default for each in fields(self)]
        changed = [each for each, default in zip(given.items(), defaults, strict=True) if each[1] != default]
        return [word for name, value in changed for word in ([name] if value is True else [name, str(value)])]

    def computing(self) -> "Computing":
        """What the library takes of them."""
        import torch

        from msrn.training.setting import Computing

        if self.threads:
            torch.set_num_threads(self.threads)
        return Computing(self.device, self.precision, self.compile, self.deterministic)


def train(
    recipe: Annotated[Path | None, Parameter(group=FILES)] = None,
    /,
    *,
    data_root: Annotated[Path | None, Parameter(group=FILES)] = None,
    output: Annotated[Path | None, Parameter(alias="-o", group=FILES)] = None,
    resume: Annotated[Path | None, Parameter(group=FILES, metavar="RUN")] = None,
    settings: Settings = None,
    init_from: Annotated[str | None, Parameter(group=FILES, metavar="WEIGHTS")] = None,
    dry_run: Annotated[bool, Parameter(group=FILES)] = False,
    speed: TrainingSpeedOptions = TrainingSpeedOptions(),
    minutes: Annotated[float | None, Parameter(group=LIMITS)] = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a recipe; interrupt it whenever you like, and go on.

    $ msrn train denoise_fast --data-root ~/data -o runs/mine
    $ msrn train --resume runs/mine

    Args:
        recipe: Recipe: a TOML file or a name; with --resume, the run's own by default.
        data_root: Folder of the recipe's image sets, or a file from `msrn pack`; by default data, or that of --resume.
        output: New run folder; runs/NAME by default.
        resume: Continue the run in a folder.
        init_from: Start from weights (fine-tuning).
        dry_run: Forecast time and memory; draw what the network will see.
        minutes: Stop after this long, with a checkpoint.
    """
    from msrn.training import recipe_file as recipes

    if resume is not None and (output is not None or init_from is not None):
        raise UsageError("--resume continues a run as it is: it takes neither --output nor --init-from")
    show_log(quiet=quiet)
    loaded = recipes.load(recipe or _recipe_of(resume), settings or [])
    run = resume or output or Path("runs") / loaded.name

    from msrn.network import weights  # after the recipe, whose package says which extra is missing
    from msrn.training import log, trainer

    data_root = data_root or (log.data_root_of(run) if resume else None) or Path("data")
    if dry_run:
        _forecast(loaded, data_root, run, speed.computing())
        return
    how_to_go_on = ["msrn", "train", "--resume", str(run), "--data-root", str(data_root), *speed.words()]
    with Bar(quiet) as bar, _interruptible(run, how_to_go_on):
        made = trainer.fit(
            loaded,
            data_root,
            run,
            speed.computing(),
            resume=resume is not None,
            initial=weights.load(init_from) if init_from else None,
            tensorboard=speed.tensorboard,
            minutes=minutes,
            report=_TrainingReport(bar, quiet),
        )
    if made.step < loaded.optimiser.steps and not quiet:
        _say_how_to_go_on("the minutes are over", run, how_to_go_on)
    print_data(str(run))


def _recipe_of(run: Path | None) -> Path:
    """The recipe of a run that is resumed, as it keeps it."""
    if run is None:
        raise UsageError("name a recipe, such as denoise_fast or a TOML file, or --resume a run")
    if not (run / "recipe.json").is_file():
        raise UsageError(f"nothing to resume in {run}: it holds no run")
    return run / "recipe.json"


class _TrainingReport:
    """Tells how far a run is: step, loss and speed, and the scores on images held out."""

    def __init__(self, bar: Bar, quiet: bool) -> None:
        self._bar, self._quiet = bar, quiet
        self._said = time.monotonic()

    def __call__(self, now: "Progress") -> None:
        skipped = f"  {now.skipped} skipped" if now.skipped else ""
        if now.step:
            speed = f"loss {now.loss:.5f}  {now.patches_per_second:.0f} patches/s{skipped}"
            at = f"step {now.step} of {now.steps}  {speed}"
            self._bar.show(at, now.step / now.steps)
            if not (self._bar.shown or self._quiet) and time.monotonic() - self._said > _SILENCE:
                self._said = time.monotonic()
                self._bar.say(at)
        if now.scores and not self._quiet:
            scores = "  ".join(f"{level}: {score:.3f} dB" for level, score in now.scores.items())
            steps = f"step {now.step}  loss {now.loss:.5f}  rate {now.rate:.2e}" if now.step else "before training"
            self._bar.say(f"{steps}  held-out {scores}{skipped}")


@contextmanager
def _interruptible(run: Path, how_to_go_on: list[str]) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        with suppress(OSError):  # of a terminal that was closed
            _say_how_to_go_on("interrupted", run, how_to_go_on)
        raise SystemExit(130) from None


def _say_how_to_go_on(why: str, run: Path, command: list[str]) -> None:
    from msrn.training import checkpoint

    if os.environ.get("RANK", "0") != "0":
        return
    newest = checkpoint.latest(run)
    if newest is None:
        say(f"msrn: {why} before the first step")
    else:
        say(f"msrn: {why} at step {int(newest.stem.rpartition('-')[2])}; go on with: {shlex.join(command)}")


def _forecast(recipe: "Recipe", data_root: Path, run: Path, computing: "Computing") -> None:
    """Say how long a run would take, and draw what it would see."""
    from msrn import images
    from msrn.images.picture import Picture
    from msrn.training import dry_run
    from msrn.training.loader import load_material
    from msrn.training.setting import settled

    run = run.resolve()  # "." has no name
    path = run.with_name(f"{run.name}-dry_run.png")
    with settled(computing) as setting:
        material = load_material(recipe, data_root, setting.device)
        images.write(Picture(dry_run.sheet(material, recipe.optimiser.batch)), path, overwrite=True)
        expected = dry_run.forecast_training(recipe, material, setting)
    epochs = f", {expected.epochs:.1f} epochs" if expected.epochs else ""
    memory = f"; {expected.peak_bytes / 2**30:.2f} GiB" if expected.peak_bytes else ""
    print_data(f"{recipe.name}: {expected.parameters:,} parameters, {recipe.optimiser.steps:,} steps{epochs}")
    print_data(
        f"{expected.hours:.2f} hours at {expected.patches_per_second:.1f} patches/s on {setting.device} "
        f"({str(setting.precision).removeprefix('torch.')}), {expected.data_share:.0%} of it drawing patches{memory}"
    )
    print_data(f"what the network sees (above) and should see (below): {path}")


def prepare(
    *sources: Annotated[str, Parameter(name="SOURCE", group=FILES)],
    output: Annotated[Path, Parameter(alias="-o", group=FILES)],
    data_root: Annotated[Path, Parameter(group=FILES)] = Path("data"),
    crop: Annotated[int, Parameter(group=FILES, validator=at_least(0))] = 0,
    shard_size: Annotated[int, Parameter(group=FILES, validator=at_least(1))] = 256,
    verify: Annotated[bool, Parameter(group=FILES)] = False,
    min_side: Annotated[int, Parameter(group=LIMITS, validator=at_least(1))] = 64,
    max_pixels: Annotated[int, Parameter(group=LIMITS, validator=at_least(1))] = MAX_TRAINING_PIXELS,
    as_json: options.AsJSON = False,
    quiet: options.Quiet = False,
) -> None:
    """Put training images into WebDataset shards; run again to go on.

    $ msrn prepare DIV2K --data-root ~/data -o ~/data/shards --crop 512
    $ msrn prepare ~/Pictures -o shards

    Args:
        sources: Folders, or known sets such as DIV2K.
        output: Folder for the shards.
        data_root: Where the known sets lie.
        crop: Cut larger images into pieces of this side; 0 keeps files.
        shard_size: MiB of images per shard.
        verify: Only check finished shards.
        min_side: Leave smaller images out.
        max_pixels: Leave larger images out.
    """
    from msrn.training import known_sets, shards

    if verify:
        wrong = shards.verify(output)
        for line in wrong:
            say(f"msrn: error: {line}")
        if wrong:
            raise SystemExit(ImageError.exit_code)
        say(f"{output}: all shards are as written")
        return
    if not sources:
        raise UsageError("name the folders or known sets to take images from")
    for source in filter(known_sets.is_scored_on, sources):
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
        print_data(json.dumps(asdict(done), indent=2, ensure_ascii=False))
    else:
        kept = f" ({done.kept_shards} were there already)" if done.kept_shards else ""
        print_data(f"{done.images} images in {done.shards} shards{kept}, {len(done.skipped)} skipped -> {output}")


def pack(
    recipe: Annotated[Path, Parameter(group=FILES)],
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o", group=FILES)],
    data_root: DataRoot = Path("data"),
    settings: Settings = None,
) -> None:
    """Put a recipe's training images into one file, ready to carry.

    $ msrn pack denoise_fast --data-root ~/data -o denoise.npz
    $ msrn pack mine.toml -o small.npz --set data.patch=48

    Args:
        recipe: Recipe whose images to pack.
        output: The pack, an .npz file.
    """
    from msrn.training import loader
    from msrn.training import recipe_file as recipes

    wanted = recipes.load(recipe, settings or [])
    folders = [Path(source) for source in loader.sources_of(wanted.data.folders, data_root)]
    packed = loader.read_folders(folders, wanted.network.in_channels, wanted.data.luminance)
    loader.save_pack(packed, output)
    say(f"{len(packed.images)} images -> {output}")


def schema() -> None:
    """Print the JSON schema of recipes, for editors.

    $ msrn schema
    $ msrn schema > recipe.schema.json
    """
    from msrn.training import recipe_file as recipes

    print_data(json.dumps(recipes.schema(), indent=2, ensure_ascii=False))
