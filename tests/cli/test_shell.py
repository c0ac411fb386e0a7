"""`msrn completion` and `msrn man`, and the program by its other name."""

import subprocess
import sys

import pytest
from tests.helpers.command import msrn

from msrn.cli import COMMANDS

pytestmark = pytest.mark.timeout(120)
NAMES = [place.partition(":")[2] for places in COMMANDS.values() for place in places]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_completed(shell):
    process = msrn("completion", shell)
    assert (process.returncode, process.stderr) == (0, "")
    for word in (*NAMES, "strength", "max-pixels"):
        assert word in process.stdout
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=process.stdout, text=True).returncode == 0


def test_the_manual_page_has_every_command_and_its_options():
    lines = msrn("man").stdout.splitlines()
    assert lines[0].startswith(".TH MSRN 1")
    assert [line.removeprefix(".SS msrn ") for line in lines if line.startswith(".SS")] == NAMES
    place = lines.index(r"\fB\-\-strength FLOAT\fR")
    assert lines[place - 1] == ".TP"
    assert "70%" in lines[place + 1]


def test_the_package_is_the_program():
    process = subprocess.run([sys.executable, "-m", "msrn", "--version"], capture_output=True, text=True)
    assert process.stdout == msrn("--version").stdout
