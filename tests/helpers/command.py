"""The command line as a user starts it."""

import subprocess
import sys


def msrn(*arguments, cwd=None):
    """Run a command to its end, in a process of its own."""
    command = [sys.executable, "-m", "msrn", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def assert_refused(process, code, *words):
    """The process ended with this exit code, and one line on stderr that holds these words."""
    assert process.returncode == code, process.stderr
    lines = process.stderr.strip().splitlines()
    assert len(lines) == 1, process.stderr
    assert lines[0].startswith("msrn: error: ")
    for word in words:
        assert word in lines[0]
