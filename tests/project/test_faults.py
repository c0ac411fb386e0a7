"""Each row of docs/faults.md names a test that exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TABLE = (TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
HEADS = ("| fault |", "| from a stranger |")
ROWS = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith(HEADS)]


@cache
def functions_of(name: str) -> set[str]:
    tree = ast.parse((TESTS / name).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_a_test_that_exists(row):
    (named,) = re.findall(r"`([\w/]+\.py)::(test_\w+)` \|$", row)
    assert named[1] in functions_of(named[0])
