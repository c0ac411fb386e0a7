"""The command line as a user starts it."""

import subprocess
import sys


def msrn(*arguments, cwd=None):
    """Run a command to its end, in a process of its own."""
    command = [sys.executable, "-m", "msrn.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)
