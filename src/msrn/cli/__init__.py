"""The command line: parse, call one function, map errors to exit codes.

Data goes to stdout, progress and messages to stderr. Heavy modules are imported inside the commands, so that
``msrn --help`` answers at once.

Exit codes: 0 all done, 1 internal error, 2 usage, 3 some images failed, 4 model or weights, 5 output not
writable, 130 interrupted.
"""

import io
import sys
from typing import Annotated

import typer

from msrn.cli import benchmark, evaluate, restore, training, weights
from msrn.cli.console import say
from msrn.errors import MSRNError

app = typer.Typer(
    name="msrn",
    help="Restore photographs with a persistent memory network: upscale, denoise, remove JPEG artifacts.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    restore.restore,
    restore.upscale,
    restore.denoise,
    restore.dejpeg,
    evaluate.evaluate,
    training.train,
    training.prepare,
    training.pack,
    training.schema,
    weights.publish,
    weights.weights,
    weights.export,
    benchmark.benchmark,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Restore photographs with a persistent memory network: upscale, denoise, remove JPEG artifacts."""
    if version:
        from msrn import __version__

        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Entry point of ``msrn``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Files and pipes get UTF-8 everywhere, Windows included; a file's name that is no Unicode is shown escaped.
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="backslashreplace")
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.TyperException as error:
        say(f"msrn: error: {error.format_message()} (see msrn --help)")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        say("msrn: interrupted")
        sys.exit(130)
    except MemoryError:
        say("msrn: error: there is not enough memory")
        sys.exit(1)
    except MSRNError as error:
        say(f"msrn: error: {error}")
        sys.exit(error.exit_code)
