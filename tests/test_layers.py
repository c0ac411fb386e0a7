"""The architecture is what the folder says: a level imports only from lower levels, siblings never each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src" / "msrn"
LEVELS = [
    ["errors", "once"],
    ["picture", "atomic", "graphics"],
    ["color", "transparency", "child", "config"],
    ["network", "metrics", "tiling", "files", "diagnose", "machine", "published", "bench_page"],
    ["degrade", "kernels"],
    ["recipe", "weights", "fuse", "lean", "data", "checkpoint", "distributed", "board"],
    ["backends", "shards", "datasets", "resident", "objective"],
    ["depth", "device", "stopwatch", "footprint"],
    ["tuning"],
    ["planning"],
    ["engine"],
    ["methods", "feed", "run", "benchmark", "video", "automatic"],
    ["evaluate", "batch", "export", "tables", "plots", "journal"],
    ["train", "report"],
    ["preview", "quantise"],
    ["publish"],
    ["console"],
    ["cli"],
]
LEVEL = {module: number for number, modules in enumerate(LEVELS) for module in modules}


def imported(path):
    """Names of this package's modules that a file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "msrn":
            yield from (alias.name for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("msrn."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("msrn."))


FILES = sorted(path.relative_to(SOURCES) for path in SOURCES.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_down(path):
    home = path.parts[0].removesuffix(".py")  # a package inside is one module
    if home == "__init__":
        return
    assert home in LEVEL, f"{path} has no level yet: give it one in this test"
    for module in imported(SOURCES / path):
        assert module == home or LEVEL[module] < LEVEL[home], f"{path} must not import {module}"


def test_files_stay_small():
    for path in FILES:
        lines = len((SOURCES / path).read_text(encoding="utf-8").splitlines())
        assert lines <= (300 if path.stem == "network" else 420), f"{path.name} has {lines} lines"


@pytest.mark.parametrize(
    "module", ["msrn", "msrn.cli", "msrn.files", "msrn.degrade", "msrn.batch", "msrn.recipe", "msrn.engine"]
)
def test_light_modules_do_not_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
