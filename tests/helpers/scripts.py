"""The programs of ``scripts`` as modules."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def script(name):
    """scripts/documentation/NAME.py as a module."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "documentation" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
