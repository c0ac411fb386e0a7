"""What the pages for users tell them to type runs, in the order of the page, in one folder for each page.

The README, docs/python.md and docs/from_the_original.md have tests of their own.
"""

import re
import shlex
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from msrn.restoration.export import parity
from msrn.restoration.export.web import RUNTIME, TESTED_RUNTIME

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMMAND = re.compile(r"^(msrn [^\n]+)$|`(msrn \w+ [^`]+)`|```python\n(.*?)```", re.MULTILINE | re.DOTALL)
PAGES = ("index", "guide", "inspect", "export", "programs", "scale", "training", "datasets")
NOT_TYPED = ("--help", "…", "--half", "WHOLE", "SHARDS", "completion", "man |", "NAME", "FILE")
"""Words of commands that are mentioned, not told to type."""
SMALL = {  # as written, but not for hours
    "train": "--set data.patch=16 --set optimiser.batch=2 --set optimiser.steps=2 "
    "--set optimiser.decay_steps=1 --set optimiser.freeze_batchnorm_step=0 --set evaluate_every=1 --threads 1",
    "prepare": "--min-side 1",
}


def told(page: str) -> list[str]:
    """The commands and the Python of a page."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    found = ["".join(parts) for parts in COMMAND.findall(text)]
    return [each for each in found if not any(word in each for word in NOT_TYPED)]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder, also the home, with the files that the pages speak of."""
    photo = Image.open(ROOT / "demo" / "photographs" / "chelsea.png").convert("RGB").crop((100, 50, 164, 98))
    for folder in ("album", "Pictures", "DATA/DIV2K/DIV2K_train_HR", "DATA/Flickr2K"):
        (tmp_path / folder).mkdir(parents=True)
        photo.save(tmp_path / folder / "one.png")
        photo.rotate(180).save(tmp_path / folder / "two.png")
    photo.save(tmp_path / "photo.jpg", quality=30)
    photo.save(tmp_path / "photo.png")
    photo.save(tmp_path / "noisy.png")
    photo.save(tmp_path / "cat.gif", save_all=True, append_images=[photo.rotate(180)], duration=100)
    with tarfile.open(tmp_path / f"onnxruntime-web-{TESTED_RUNTIME}.tgz", "w:gz") as archive:
        for name in ("package.json", *(f"dist/{file}" for file in RUNTIME)):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = 15
            archive.addfile(entry, BytesIO(b'{"version":"1"}'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(parity, "_SIZES", 1)  # of 20, which tests/restoration/test_export.py compares
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_runs(page, workplace, msrn):
    assert told(page)
    for each in told(page):
        if not each.startswith("msrn "):
            exec(each, {})
            continue
        words = [str(Path(word).expanduser()) if word.startswith("~") else word for word in shlex.split(each, True)[1:]]
        words = [str(path) for word in words for path in (Path().glob(word) if "*" in word else [word])]
        more = "--threads 1" if "--resume" in words else SMALL.get(words[0], "")
        done = msrn(*words, *more.split())
        answers = (0, 3) if words[0] == "verify" else (0,)  # what it found is no failure
        assert done.returncode in answers, (each, done.stderr)


def test_no_page_with_commands_is_left_out():
    """Every block of bash with a command of ours stands on a page that is run, here or in the tests of the README."""
    elsewhere = {"python", "from_the_original"}
    for path in DOCS.glob("*.md"):
        blocks = re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        if any(line.startswith("msrn ") for block in blocks for line in block.splitlines()):
            assert path.stem in {*PAGES, *elsewhere}, path.name
