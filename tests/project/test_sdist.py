"""The source distribution holds all that its wheel is made of: a build from it gives the files of the checkout."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def tracked(*where: str) -> list[str]:
    """The files of the checkout that git knows."""
    listed = subprocess.run(["git", "ls-files", *where], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a clone")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def build(what: str, source: Path, target: Path) -> Path:
    """Call the build backend as an installer does, with nothing from the network."""
    done = subprocess.run([sys.executable, "-c", BUILD, what, target], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = (path for path in target.iterdir() if path.is_file())
    return made


def test_the_wheel_of_the_sdist_is_the_checkouts(tmp_path):
    checkout = tmp_path / "checkout"
    for name in tracked("src", "*.md", "*.toml", "*.in", "*.txt", "*.cff", "LICENSE"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    for folder in ("sdist", "unpacked", "wheel"):
        (tmp_path / folder).mkdir()
    with tarfile.open(build("build_sdist", checkout, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "constraints.txt"):
        assert (source / name).read_bytes() == (ROOT / name).read_bytes()
    with zipfile.ZipFile(build("build_wheel", source, tmp_path / "wheel")) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if name.startswith("msrn/")}
    here = {name.removeprefix("src/"): (ROOT / name).read_bytes() for name in tracked("src/msrn")}
    assert held.keys() == here.keys()
    assert held == here
