"""A file that opens the page when it is double-clicked, for people without a terminal."""

import os
import shlex
import sys
from pathlib import Path

from msrn.errors import OutputError
from msrn.system.atomic import write_atomically

_LINUX = """\
[Desktop Entry]
Type=Application
Name=MSRN
Comment=Restore photographs
Exec={command}
Terminal=false
Categories=Graphics;Photography;
"""
_MACOS = """\
#!/bin/sh
# Restores photographs: opens the page in the browser. Close this window to end it.
exec {command}
"""
_WINDOWS = """\
@echo off
rem Restores photographs: opens the page in the browser. Close this window to end it.
{command}
if errorlevel 1 pause
"""


def launcher(system: str, python: str) -> tuple[str, str]:
    """The name and the content of the file.

    Args:
        system: as ``sys.platform`` has it.
        python: path of the interpreter that this package is installed for.
    """
    words = [python, "-m", "msrn.cli", "serve", "--open", "--port", "0"]
    if system == "win32":
        return "MSRN.bat", _WINDOWS.format(command=" ".join([f'"{python}"', *words[1:]])).replace("\n", "\r\n")
    if system == "darwin":
        return "MSRN.command", _MACOS.format(command=shlex.join(words))
    quoted = "".join("\\" + c if c in '"`$\\' else c for c in python)
    return "msrn.desktop", _LINUX.format(command=" ".join([f'"{quoted}"', *words[1:]]))


def write_launcher(folder: Path) -> Path:
    """Write the file for this system into a folder, such as the desktop.

    Raises:
        OutputError: it cannot be written.
    """
    name, text = launcher(sys.platform, sys.executable)
    path = folder / name
    write_atomically(path, lambda file: file.write(text.encode()))
    try:
        path.chmod(0o755)
    except OSError as error:
        raise OutputError(f"cannot make {path} executable: {os.strerror(error.errno or 0)}") from error
    return path
