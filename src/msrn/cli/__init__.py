"""The command line: parse, call one function, map errors to exit codes.

Data goes to stdout, progress and messages to stderr. A command's module is imported when that command runs, and heavy
modules inside it, so that ``msrn --help`` answers at once.

Exit codes: 0 all done, 1 internal error, 2 usage, 3 some images failed, 4 model or weights, 5 output not
writable, 130 interrupted.
"""

import errno
import io
import os
import sys
from typing import Any, cast

from cyclopts import App, CycloptsError, Parameter

from msrn import __version__
from msrn.cli.console import print_data, say
from msrn.errors import MSRNError, OutputError, UsageError
from msrn.system.extras import explained

COMMANDS = {
    "Photographs": {
        "restoring:restore": "Find out what each picture needs, restore that, and say why.",
        "restoring:upscale": "Enlarge images by any factor, or to an exact size.",
        "restoring:denoise": "Remove noise; the level is judged from the image.",
        "restoring:dejpeg": "Remove JPEG artifacts; the quality is judged from the image.",
        "verifying:verify": "Check whether a result keeps to what its input allows.",
    },
    "Many machines": {
        "cluster:manifest": "List images for many machines to restore, and sum up results.",
    },
    "For others": {
        "serving:serve": "Serve a page to drop photographs on, and an API for programs.",
    },
    "Weights": {
        "weights:weights": "List the weights that come with the package, or describe one.",
        "weights:export": "Write weights for another program, and check what it computes.",
        "converting:convert": "Make a weights file of Caffe's or PyTorch's, and say what differs.",
        "weights:publish": "Turn a run into a weights file with its card and scores.",
    },
    "Training": {
        "training:train": "Train a recipe; interrupt it whenever you like, and go on.",
        "training:prepare": "Put training images into WebDataset shards; run again to go on.",
        "training:pack": "Put a recipe's training images into one file, ready to carry.",
        "training:schema": "Print the JSON schema of recipes, for editors.",
    },
    "Measuring": {
        "evaluating:evaluate": "Score weights on clean images, by the literature's protocol.",
        "benchmark:benchmark": "Measure every backend and precision here: speed and memory.",
        "inspecting:inspect": "Look inside a network: what its blocks read, add, see and cost.",
    },
    "Shell": {
        "shell:completion": "Print what makes a shell complete commands and options.",
        "shell:man": "Print the manual page: every command with its options.",
    },
}
"""Where each command is, and what its docstring begins with, by the panels of ``msrn --help``."""
WITH_COMMANDS = ("cluster:manifest",)
"""Those that have commands of their own: each is an ``App``."""

_OVERVIEW = """\
Usage: msrn COMMAND [OPTIONS]

Restore photographs with a persistent memory network: upscale, denoise,
remove JPEG artifacts.

$ msrn restore photo.jpg --output restored.png
$ msrn upscale album --recursive --output large --scale 2

{commands}

Options
  --help, -h  Show this message and exit; of a command, its options.
  --version   Print the version and exit."""


def _shown_default(value: object) -> str | None:
    """The default as the help shows it; None where it tells nothing, as of a switch."""
    if value is None or value is False or value == "":
        return None
    return f"{value:,}" if isinstance(value, int) else str(value)


app = App(
    name="msrn",
    help_format="plaintext",
    help_flags=(),
    version_flags=(),
    default_parameter=Parameter(negative=(), allow_repeating=True, show_default=_shown_default),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)
_HELP: dict[str, Any] = {"help_flags": ("--help", "-h")}
for place in (place for commands in COMMANDS.values() for place in commands):
    app.command(f"msrn.cli.{place}", name=place.partition(":")[2], **({} if place in WITH_COMMANDS else _HELP))


@app.command(name=("--help", "-h"))
def overview() -> None:
    """Print what commands there are."""
    commands = [
        "\n".join([title, *(f"  {place.partition(':')[2]:<10}  {summary}" for place, summary in places.items())])
        for title, places in COMMANDS.items()
    ]
    print_data(_OVERVIEW.format(commands="\n\n".join(commands)))


@app.command(name="--version")
def version() -> None:
    """Print the version."""
    print_data(__version__)


def _open_what_is_closed() -> None:
    """Put the null device in the place of standard streams that were closed, or files would be opened in their place.

    Writing to standard output remains an error.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)  # gets the lowest number that is free
            raw = io.FileIO(descriptor, "r" if name == "stdin" else "w", closefd=False)
            buffer = io.BufferedReader(raw) if name == "stdin" else cast(Any, raw)  # a failure shows at once
            setattr(sys, name, io.TextIOWrapper(buffer, write_through=True))


def main() -> None:
    """Entry point of ``msrn``."""
    _open_what_is_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Files and pipes get UTF-8 everywhere, Windows included; a file's name that is no Unicode is shown escaped.
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="backslashreplace")
    try:
        # A lone dash would be taken for an option; as a path, ./- is the same.
        app(["./-" if word == "-" else word for word in sys.argv[1:]] or ["--help"])
        sys.stdout.flush()
    except CycloptsError as error:
        message = " ".join(str(error).partition(" Available commands:")[0].split())
        say(f"msrn: error: {message} (see msrn --help)")
        sys.exit(UsageError.exit_code)
    except KeyboardInterrupt:
        say("msrn: interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing is left to be flushed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOSPC):  # files' own errors have names
            raise
        why = "it is closed" if error.errno == errno.EBADF else error.strerror
        say(f"msrn: error: cannot write to standard output: {why}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or flushing at the end would fail again
        sys.exit(OutputError.exit_code)
    except MemoryError:
        say("msrn: error: there is not enough memory")
        sys.exit(1)
    except ImportError as error:
        needed = explained(error, f"msrn {sys.argv[1]}")
        if needed is None:
            raise
        say(f"msrn: error: {needed}")
        sys.exit(needed.exit_code)
    except MSRNError as error:
        say(f"msrn: error: {error}")
        sys.exit(error.exit_code)
