"""The folder listing is the map: few rooms, each with a sentence about itself, files of a size that can be read."""

import ast
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src" / "msrn"
ROOMS = sorted(path.parent for path in SOURCES.glob("*/__init__.py"))
WITHOUT_NUMPY = ["msrn", "msrn.cli"]
WITHOUT_TORCH = ["msrn.images", "msrn.images.degradations", "msrn.batch", "msrn.restoration.restorer"]
IMPORT_EACH = """
import sys
from importlib import import_module

for names, heavy in zip(sys.argv[1::2], sys.argv[2::2]):
    for name in names.split():
        import_module(name)
        for package in set(heavy.split()) & set(sys.modules):
            sys.exit(f"{name} imports {package}")
"""


def test_there_are_few_entries():
    entries = [path.name for path in SOURCES.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 14, sorted(entries)


def test_every_room_says_what_it_is():
    assert len(ROOMS) >= 8
    for room in ROOMS:
        tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{room.name}/__init__.py has no docstring"


def test_every_room_is_on_the_map():
    page = (SOURCES.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for room in ROOMS:
        assert f"\n| `{room.name}` | " in page, f"CONTRIBUTING.md has no line for {room.name}"


def test_files_stay_small():
    for path in SOURCES.rglob("*.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{path.relative_to(SOURCES)} has {lines} lines"


def import_each(*names_and_heavy):
    """Import modules one after the other in a new process, until one has brought in a package it should not."""
    command = [sys.executable, "-c", IMPORT_EACH, *names_and_heavy]
    return subprocess.run(command, capture_output=True, text=True).stderr.strip()


def test_light_modules_import_neither_torch_nor_numpy():
    assert import_each(" ".join(WITHOUT_NUMPY), "torch numpy", " ".join(WITHOUT_TORCH), "torch") == ""
