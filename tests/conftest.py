"""Fixtures that several test files share."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# Tests may share their machine with other work: how long one example takes proves nothing.
settings.register_profile("msrn", deadline=None, derandomize=True)
settings.load_profile("msrn")

ROOT = Path(__file__).parents[1]


def pytest_configure():
    """Of several workers, each computes on a core of its own: so do torch, OpenVINO and the programs that tests start.

    Threads that share cores with another worker's would wait for each other, and timings would depend on it.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
        if hasattr(os, "sched_setaffinity"):  # Linux
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of evaluation images (``set5``, ``classic5``, …); tests that need it are skipped without."""
    given = os.environ.get("MSRN_DATA")
    for folder in [Path(given)] if given else [ROOT / "data", ROOT.parent / "shared" / "data"]:
        if (folder / "set5").is_dir():
            return folder
    pytest.skip("no evaluation images; set MSRN_DATA to their folder")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Tests neither read nor leave what the user's cache holds; each worker has a cache of its own."""
    before = os.environ.get("MSRN_CACHE")
    os.environ["MSRN_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("MSRN_CACHE") if before is None else os.environ.update(MSRN_CACHE=before)


@pytest.fixture(autouse=True, scope="session")
def nothing_left_behind():
    """Tests write to folders of their own: no file may appear where they were started from."""

    def files() -> set[str]:
        return {path.name for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")}

    before = files()
    yield
    assert files() <= before


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """A data root whose one set, ``images``, holds four smooth pictures."""
    folder = tmp_path_factory.mktemp("data") / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        small = Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8))
        small.resize((72, 72), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder.parent


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, by Playwright; tests that need it are skipped without either."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium")
    quiet = ["background-networking", "component-update", "sync"]
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{each}" for each in quiet)]
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, headless=True, args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    """A folder for screenshots: ``$MSRN_SCREENSHOTS``, or pytest's own."""
    kept = os.environ.get("MSRN_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of some KiB and returns its folder; needs the right to mount."""
    folder = tmp_path / "disk"

    def mount(kibibytes: int) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("cannot mount a small file system here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)
