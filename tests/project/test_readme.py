"""The README tells the truth: its commands run, its Python runs, its table is what the evaluations say."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.helpers.scripts import script

from msrn.network import weights
from msrn.network.config import MSRNConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def workplace(tmp_path):
    """An empty folder with the files the README speaks of."""
    from PIL import Image

    photo = Image.open(ROOT / "demo" / "photographs" / "chelsea.png").convert("RGB").crop((100, 50, 196, 122))
    photo.save(tmp_path / "photo.jpg", quality=30)
    photo.save(tmp_path / "photo.png")
    photo.save(tmp_path / "small.jpg")
    (tmp_path / "album").mkdir()
    photo.save(tmp_path / "album" / "one.jpg", quality=10)
    return tmp_path


def commands() -> list[str]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.startswith("msrn ")]


def test_there_is_something_to_check():
    assert len(commands()) >= 4
    assert len(blocks("python")) >= 1


@pytest.mark.parametrize("command", commands())
def test_commands_run(command, workplace, request):
    if "DATA" in command:
        command = command.replace("DATA", str(request.getfixturevalue("data_root").resolve()))
        command = command.replace("DIV2K", "set5")
    words = shlex.split(command)
    if words[1] == "train":  # as written, but not for an hour
        words += ["--set", "optimiser.steps=2", "--set", "optimiser.decay_steps=2", "--set", "data.validation_every=99"]
    if words[1] == "benchmark":  # nor on an image of a size that says something
        words += ["--size", "32", "--rounds", "1", "--no-peers"]
    process = subprocess.run(
        [sys.executable, "-m", "msrn.cli", *words[1:]], cwd=workplace, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


def test_python_runs(workplace):
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for block in (*blocks("python"), "\n".join(blocks("python", page))):
        environment = os.environ | {"PYTHONWARNINGS": "error"}
        process = subprocess.run(
            [sys.executable, "-c", block], cwd=workplace, capture_output=True, text=True, env=environment
        )
        assert process.returncode == 0, process.stderr


@pytest.fixture
def update_readme(tmp_path, monkeypatch):
    """scripts/documentation/update_readme.py, working on a copy of docs/results."""
    module = script("update_readme")
    monkeypatch.setattr(module, "RESULTS", shutil.copytree(module.RESULTS, tmp_path / "results"))
    return module


def test_the_table_is_what_the_evaluations_say(update_readme):
    assert update_readme.updated(README) == README, "run python scripts/documentation/update_readme.py"


def test_the_services_figures_are_what_its_benchmarks_kept():
    service = script("update_service")
    page = service.PAGE.read_text(encoding="utf-8")
    assert service.updated(page) == page, "run python scripts/documentation/update_service.py"


def test_a_table_that_disagrees_is_noticed(update_readme):
    path = update_readme.RESULTS / "msrn-m4r1s2-sr.json"
    text = path.read_text(encoding="utf-8")
    changed = json.loads(text)
    changed[0]["mean"]["psnr"] += 0.01
    path.write_text(json.dumps(changed), encoding="utf-8")
    assert update_readme.updated(README) != README
    path.write_text(text.replace("(sha256 ", "(sha256 0"), encoding="utf-8")
    with pytest.raises(SystemExit, match="--evaluate DATA"):
        update_readme.updated(README)
    path.unlink()
    with pytest.raises(SystemExit, match="--evaluate DATA"):
        update_readme.updated(README)


def test_every_weights_file_has_a_page_that_says_what_it_says(tmp_path, monkeypatch):
    cards = script("update_cards")
    wanted = cards.pages()
    assert [name for name, text in wanted.items() if not cards.is_current(name, text)] == []
    assert {path.name for path in cards.PAGES.glob("*.md")} == wanted.keys()
    assert wanted.keys() == {"README.md", *(f"{entry.name}.md" for entry in weights.CATALOGUE)}
    for page in cards.PAGES.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target
    monkeypatch.setattr(cards, "PAGES", shutil.copytree(cards.PAGES, tmp_path / "pages"))
    for name, text in wanted.items():
        (cards.PAGES / name).write_text(text.replace("PSNR", "SSIM", 1), encoding="utf-8")
        assert not cards.is_current(name, text)
        assert "the same, better" not in text.lower()
    drawn = cards.curve([[0, 0.0, {"2": 28.5, "3": 26.1}], [500, 0.1, {"2": 29.4, "3": 26.6}]]).decode()
    assert "2: 29.40" in drawn
    assert "3: 26.60" in drawn


def test_evaluations_add_up_and_are_what_the_cards_say():
    for entry in weights.CATALOGUE:
        scores = weights.load(entry.name).card.scores
        for result in json.loads((ROOT / "docs" / "results" / f"{entry.name}.json").read_text(encoding="utf-8")):
            assert result["failures"] == []
            card = scores[result["data"]][f"{result['level']:g}"]
            for key, value in result["mean"].items():
                assert value == pytest.approx(sum(row[key] for row in result["images"]) / len(result["images"]))
                assert value == pytest.approx(card["mean"][key], abs=6e-5)


def test_files_on_the_way_to_the_papers_size_score_what_their_page_says():
    page = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (MSRN_\S+) \| (\w+) [^|]*\| ([^|]*) \| ([^|]*) \|", page, flags=re.MULTILINE)
    assert {name for name, *_ in found} == {path.stem for path in (ROOT / "weights").glob("*.safetensors")}
    for name, data, degraded, restored in found:
        loaded = weights.load(ROOT / "weights" / f"{name}.safetensors")  # which compares the hash
        for said, kind in ((degraded, "baseline"), (restored, "mean")):
            scores = [f"{level[kind]['psnr']:.2f}" for level in loaded.card.scores[data].values()]
            assert said == " / ".join(scores), name
        assert loaded.storage == "float16"


def test_costs_beside_the_papers_are_those_of_the_networks():
    found = re.findall(r"(\d+)\s+times\s+as\s+costly\s+as\s+`(\w+)`", README)
    others = [entry for entry in weights.CATALOGUE if weights.load(entry.name).card.config != MSRNConfig()]
    assert {name for _, name in found} == {entry.name.split("-")[1] for entry in others}
    for times, name in found:
        small = next(
            weights.load(entry.name).card.config for entry in weights.CATALOGUE if entry.name.split("-")[1] == name
        )
        assert int(times) == round(MSRNConfig(6, 6).multiply_adds_per_pixel / small.multiply_adds_per_pixel)


PAGES = sorted(path for folder in (".", "docs", "weights") for path in (ROOT / folder).glob("*.md"))
PAGES += sorted((ROOT / "docs" / "experiments").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_files_of_a_page_exist(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", text):
        path = "".join(target)
        if "://" not in path:
            assert (page.parent / path).exists(), path
    for path in re.findall(r"\b(?:scripts|tests|src/msrn)/[\w/]+\.(?:py|toml)\b", text):
        assert (ROOT / path).is_file(), path


def test_headings_that_links_point_at_exist():
    for page in PAGES:
        for path, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
            there = (page.parent / path if path else page).read_text(encoding="utf-8")
            headings = [re.sub(r"[^\w -]", "", line.lower()) for line in re.findall(r"^#+ (.+)$", there, re.MULTILINE)]
            assert anchor in [heading.replace(" ", "-") for heading in headings], f"{page.name}: {path}#{anchor}"


def test_the_demonstration_runs(tmp_path):
    process = subprocess.run([sys.executable, ROOT / "demo" / "run.py", tmp_path], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "comparison.png").is_file()
