"""An environment with some distributions and nothing else: what an installer would make, in a second and offline."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "msrn"
PACKAGED = ("pyproject.toml", "README.md", "LICENSE")


def required(name: str, found: set[str]) -> set[str]:
    """The distributions that one needs, itself included, without extras."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return found
    try:
        needs = distribution(name).requires or []
    except PackageNotFoundError:
        return found
    found.add(key)
    for line in needs:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            required(requirement.name, found)
    return found


def link(folder: Path, names: Iterable[str]) -> Path:
    """Fill a folder with links to distributions of this environment."""
    for name in names:
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            source = Path(str(found.locate_file(top)))
            if source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source)
    return folder


def link_sources(folder: Path) -> Path:
    """Add a link to this package as it is checked out."""
    (folder / "msrn").symlink_to(SOURCES)
    return folder


def install_wheel(folder: Path, temporary: Path) -> Path:
    """Build this package's wheel from a copy of what it is made of, and install it without what it requires."""
    copy = temporary / "checkout"
    shutil.copytree(SOURCES, copy / "src" / "msrn", ignore=shutil.ignore_patterns("__pycache__"))
    for name in PACKAGED:
        shutil.copy(ROOT / name, copy)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", temporary, copy], check=True)
    (wheel,) = temporary.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--no-compile", "--target", folder, wheel], check=True)
    return folder


def command(folder: Path, code: str, *words: str) -> list[str]:
    """The words that run Python with that folder and the standard library only."""
    start = f"import sys; sys.path = [p for p in sys.path if 'site-packages' not in p] + [{str(folder)!r}]; "
    return [sys.executable, "-I", "-S", "-c", start + code, *words]


def run(folder: Path, code: str, *words: str, **options) -> subprocess.CompletedProcess[str]:
    """Run Python with that folder, to its end."""
    variables = os.environ | {"PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(folder, code, *words), capture_output=True, text=True, env=variables, **options)
