"""`msrn` itself: help, exit codes, usage errors, pipes."""

import subprocess
import sys
import time
from importlib import import_module

import pytest
from tests.helpers.command import assert_refused, msrn

from msrn import __version__
from msrn.cli import COMMANDS

pytestmark = pytest.mark.timeout(120)

PLACES = {place.partition(":")[2]: (place, summary) for panel in COMMANDS.values() for place, summary in panel.items()}
MODULES = ["msrn.cli", *sorted({f"msrn.cli.{place.partition(':')[0]}" for place, _ in PLACES.values()})]


@pytest.mark.alone  # a promise about time
def test_help_is_fast_and_imports_nothing_heavy():
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert "upscale" in msrn("--help").stdout
        times.append(time.perf_counter() - started)
    # 0.3 s is the promise on an idle machine; tests may share theirs with other work.
    assert sorted(times)[2] < 1.0


@pytest.mark.parametrize(
    "module", ["msrn.cli", *sorted({f"msrn.cli.{place.partition(':')[0]}" for place, _ in PLACES.values()})]
)
def test_declaring_options_imports_nothing_heavy(module):
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'PIL', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_overview_names_every_command(arguments):
    process = msrn(*arguments)
    assert (process.returncode, process.stderr) == (0, "")
    for name, (_, summary) in PLACES.items():
        assert f"  {name:<10}  {summary}" in process.stdout
    assert max(map(len, process.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", PLACES)
def test_every_commands_help_fits_a_terminal_and_begins_with_two_examples(command):
    place, summary = PLACES[command]
    module, _, name = place.partition(":")
    function = getattr(import_module(f"msrn.cli.{module}"), name)
    assert getattr(function, "default_command", function).__doc__.startswith(summary)
    process = msrn(command, "--help")
    assert (process.returncode, process.stderr) == (0, "")
    lines = process.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2] == summary
    assert sum(line.startswith(f"$ msrn {command}") for line in lines) == 2


def test_the_panels_begin_with_the_essentials():
    lines = msrn("upscale", "--help").stdout.splitlines()
    titles = [line.split(" ─")[0].removeprefix("╭─ ") for line in lines if line.startswith("╭")]
    assert titles == ["Input and output", "Quality", "Speed", "Limits", "Advanced"]
    first = lines.index(next(line for line in lines if line.startswith("╭")))
    assert [line.split()[2] for line in lines[first:] if line.startswith("│ * ")] == ["IN", "--output"]


def test_the_version():
    assert msrn("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("denois",), '"denoise"'),
        (("--versio",), '"--version"'),
        (("denoise", "a.png", "-o", "x.png", "--tilee", "3"), "--tile"),
        (("train", "--resum", "run"), "--resume"),
    ],
)
def test_a_mistyped_word_is_told_the_nearest(arguments, nearest):
    assert_refused(msrn(*arguments), 2, f"Did you mean {nearest}?")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("upscale", "nowhere", "-o", "out"), "nowhere"),
        (("upscale", "photo.png", "nowhere.png", "-o", "out"), "nowhere.png"),
        (("upscale", "photo.png", "-o", "x.png", "-s", "0.5"), "0.5"),
        (
            ("upscale", "photo.png", "-o", "x.png", "-s", "1000000000"),
            "from 1 to 100, such as 2 or 1.5, got '1000000000'",
        ),
        (
            ("upscale", "photo.png", "-o", "x.png", "-s", "two"),
            "-s takes a factor from 1 to 100, such as 2 or 1.5, got 'two'",
        ),
        (("upscale", "photo.png", "-o", "x.png", "--scale", "nan"), "--scale takes a factor"),
        (("upscale", "photo.png", "-o", "x.png", "--to", "999999999x"), "no memory holds so much"),
        (("upscale", "photo.png", "-o", "x.png", "--to", "big"), "big"),
        (("upscale", "photo.png", "-o", "x.png", "--to", "x"), "1920x"),
        (("upscale", "photo.png", "-o", "x.png", "--to", "9x9", "-s", "2"), "--to"),
        (("upscale", "photo.png"), "--output"),
        (("denoise", "photo.png", "-o", "x.png", "-g", "tpu"), "tpu"),
        (("denoise", "photo.png", "-o", "x.png", "-w", "jpeg"), "not for 'denoise'"),
        (("denoise", "photo.png", "-o", "photo.png"), "input"),
        (("denoise", "photo.png", "-o", "x.png", "--overwrite", "--skip-existing"), "not both"),
        (("evaluate", "--task", "sr", "--level", "2.5", "--data", "."), "2.5"),
        (("evaluate", "--task", "sr", "--level", "2", "--data", "nowhere", "--baseline"), "nowhere"),
        (("train", "nowhere.toml"), "nowhere.toml"),
        (("restyle",), "restyle"),
        (("upscale", "photo.png", "-o", "x.png", "--tile", "-1"), "--tile"),
        (("upscale", "photo.png", "-o", "x.png", "--quality", "101"), "--quality"),
        (("upscale", "photo.png", "-o", "x.png", "--precision", "fp64"), "int8-bf16"),
        (("upscale", "-o", "x.png"), "IN"),
        (("weights", "sr", "jpeg"), "jpeg"),
    ],
)
def test_usage_errors_give_one_line_and_code_2(photo, arguments, word):
    assert_refused(msrn(*arguments, cwd=photo.parent), 2, word)


def test_who_reads_a_pipe_may_leave_early():
    command = f"{sys.executable} -m msrn.cli schema | head -c 1"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("{", "")
