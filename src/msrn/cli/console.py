"""What the command line shows: a progress bar and messages on stderr, a card on stdout."""

import logging
import sys
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from msrn.network.weights import Weights


class Bar:
    """A progress bar on stderr, shown on terminals only."""

    def __init__(self, quiet: bool) -> None:
        self.shown = not quiet and sys.stderr.isatty()
        self._progress: Any = None

    def __enter__(self) -> "Bar":
        if self.shown:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._progress.add_task("", total=1.0)
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, text: str, share: float) -> None:
        """Set the description and the share done."""
        if self._progress is not None:
            self._progress.update(self._task, description=printable(text), completed=share)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._progress is not None:
            self._progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            say(text)


def say(text: str) -> None:
    """Print a message on stderr."""
    typer.echo(printable(text), err=True)


def printable(text: str) -> str:
    """The text, with what a file's name may smuggle into a line (newlines, terminal commands) spelt out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"msrn: {record.getMessage()}")


def show_log(verbose: bool = False, quiet: bool = False) -> None:
    """Show what the library notes: warnings, with ``verbose`` also its choices, nothing when ``quiet``."""
    logger = logging.getLogger("msrn")
    logger.handlers = [_Log()]
    logger.propagate = False
    logger.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)


def print_card(weights: "Weights") -> None:
    """Print what a weights file says of itself."""
    card, network = weights.card, weights.card.config
    typer.echo(f"{weights.name}\n  sha256   {weights.sha256}\n  task     {card.task}")
    parts = [f"{network.memory_blocks} memory blocks", f"recursions: {network.recursions}"]
    parts += [f"{network.channels} channels", "R, G and B together" if network.in_channels == 3 else "single planes"]
    parts += [f"on squares of {network.unshuffle}×{network.unshuffle} pixels"] if network.unshuffle > 1 else []
    parts += [] if network.multi_supervised else ["one image only supervised"]
    typer.echo(f"  network  {', '.join(parts)}; {network.multiply_adds_per_pixel:,} multiply-adds per pixel")
    typer.echo(f"  storage  {weights.storage}")
    typer.echo(f"  levels   {', '.join(dict.fromkeys(f'{level:g}' for level in card.levels))}")
    training = ", ".join(f"{key} {value}" for key, value in card.training.items() if key != "curve")
    typer.echo(f"  data     {card.data}\n  training {training or 'unknown'}\n  licence  {card.licence}")
    for data, levels in card.scores.items():
        for level, scores in levels.items():
            mean, base = scores["mean"], scores["baseline"]
            typer.echo(
                f"  {data:<9}{level:>4}  {mean['psnr']:.2f} dB / {mean['ssim']:.4f}"
                f"   (degraded {base['psnr']:.2f} / {base['ssim']:.4f})"
            )
    for precision, losses in card.costs.items():
        text = ", ".join(f"{loss:.4f} dB at {at}" for at, loss in losses.items())
        typer.echo(f"  {precision:<9} costs {text} (images held out of training)")
