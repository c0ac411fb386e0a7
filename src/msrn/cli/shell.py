"""The commands for the shell around `msrn`: completion and the manual page, both made of the commands themselves."""

import io
import re
from collections.abc import Iterator
from typing import Annotated, Literal

from cyclopts import Parameter

from msrn.cli.console import print_data
from msrn.cli.options import FILES


def completion(shell: Annotated[Literal["bash", "zsh", "fish", "powershell"], Parameter(group=FILES)], /) -> None:
    """Print what makes a shell complete commands and options.

    $ msrn completion bash > ~/.local/share/bash-completion/completions/msrn
    $ msrn completion zsh > ~/.zfunc/_msrn

    Args:
        shell: The shell that is to read it.
    """
    from msrn.cli import app

    print_data(app.generate_completion(shell=shell))


def man() -> None:
    """Print the manual page: every command with its options.

    $ msrn man > msrn.1
    $ msrn man | man --local-file -
    """
    print_data("\n".join(_page()))


def _page() -> Iterator[str]:
    """The lines of the page, in the language of roff."""
    from msrn import __version__
    from msrn.cli import COMMANDS

    yield f'.TH MSRN 1 "" "msrn {__version__}" "User Commands"'
    yield from (".SH NAME", r"msrn \- restore photographs: enlarge them, remove noise and JPEG artifacts")
    yield from (".SH SYNOPSIS", ".B msrn", r".I COMMAND", r"[\fIOPTIONS\fR]")
    for title, places in COMMANDS.items():
        yield f".SH {title.upper()}"
        for place in places:
            yield from _command(place.partition(":")[2])
    yield from (".SH EXIT STATUS", "0 all done, 1 internal error, 2 usage, 3 some images failed, 4 model or weights,")
    yield "5 output not writable, 130 interrupted."


def _command(name: str) -> Iterator[str]:
    """One command's part of the page, from its help."""
    from rich.console import Console

    from msrn.cli import app

    said = io.StringIO()
    app.help_formatter = "plain"
    app.help_print([name], console=Console(file=said, width=10_000, color_system=None))
    yield f".SS msrn {name}"
    for line in said.getvalue().splitlines():
        text = line.strip().replace("\\", r"\e").replace("-", r"\-")
        text = re.sub(r"^(?=[.'])", r"\\&", text)
        term, _, meaning = text.partition(": ")
        if line.startswith("  ") and meaning:
            yield from (".TP", rf"\fB{term}\fR", meaning)
        elif line.startswith("$ "):
            yield from (".IP", rf"\fC{text}\fR", ".PP")
        elif line.endswith(":"):
            yield from (".PP", rf"\fI{text}\fR")
        elif text:
            yield from (".PP", text)
