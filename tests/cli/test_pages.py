"""What the pages for users tell them to type runs, in the order of the page, in one folder for each page.

The README, docs/python.md and docs/from_the_original.md have tests of their own.
"""

import json
import re
import shlex
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.services import Service

from msrn.restoration.export import parity
from msrn.restoration.export.web import RUNTIME, TESTED_RUNTIME

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ELSEWHERE = {
    "README": "tests/project/test_readme.py",
    "python": "tests/project/test_readme.py",
    "from_the_original": "tests/cli/test_moving.py",
}
"""Pages that other tests run."""
PAGES = sorted({path.stem for path in DOCS.glob("*.md")} - {*ELSEWHERE})
CODE = re.compile(r"^```(\w*)\n(.*?)^```$|`([^`]+)`", re.MULTILINE | re.DOTALL)
"""A block with its language, or code within a line."""
EXEMPT = {
    "python -m pip install": "installs from elsewhere; tests/project/test_base_install.py does so in an empty place",
    "uvx ": "likewise",
    "pipx ": "likewise",
    "make demo": "likewise; then demo/run.py",
    "docker ": "needs Docker; tests/service/test_container.py does what the Dockerfile says without it",
    "npm pack": "downloads; a stand-in of what it downloads is there",
    "python -m http.server": "does not end; tests/restoration shows what it serves to a browser",
    "python scripts/": "measures for minutes to hours; see test_programs_that_pages_name_are_there",
    "python -m scripts.": "likewise",
    "python -m tests.": "likewise; tests/images/test_hostile.py does the same for seconds",
    "MSRN_KILLS=": "likewise; the same tests in their short version",
    "torchrun ": "several processes or machines; tests/training/test_distributed.py",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun": "likewise",
    "msrn restore --manifest images.parquet --output s3://": "a bucket and a cluster; tests/batch/cluster",
    "msrn benchmark --device cuda": "a GPU",
    "msrn benchmark -w ": "minutes; the README's is run, and tests/cli/test_benchmark.py takes these options",
    "msrn convert MemNet_M6R6_80C64.caffemodel": "the authors' file; tests/network/converters write one of its kind",
}
"""How commands begin that are not run, and why."""
MENTIONED = {
    "msrn COMMAND --help",
    "msrn restore IN... -o OUT",
    "msrn upscale --scale 3",
    "msrn dejpeg --consistent",
    "msrn upscale --consistent",
    "msrn evaluate --restored FOLDER",
    "msrn evaluate --markdown",
    "msrn evaluate -w WHOLE -w HALF …",
    "msrn evaluate --task sr --level 4 --data FOLDER -w WEIGHTS",
    "msrn publish --half",
    "msrn publish --data-root DATA",
    "msrn publish RUN --data-root DATA",
    "msrn publish runs/NAME -o FOLDER",
    "msrn benchmark -w FILE --size 512 --rounds 2",
    "msrn weights NAME",
    "msrn train NAME",
}
"""Code within a line that speaks of a command, without a file of its own to work on."""
SMALL = {  # as written, but not for hours
    "train": "--set data.patch=16 --set optimiser.batch=2 --set optimiser.steps=2 "
    "--set optimiser.decay_steps=1 --set optimiser.freeze_batchnorm_step=0 --set evaluate_every=1 --threads 1",
    "prepare": "--min-side 1",
}


def told(path: Path) -> list[tuple[str, str]]:
    """The commands (``bash``), Python and other texts of a page, with the kind of each."""
    found: list[tuple[str, str]] = []
    for language, block, inline in CODE.findall(path.read_text(encoding="utf-8")):
        if language == "bash":
            lines = block.replace("\\\n", " ").splitlines()
            found += [("bash", line.partition("  #")[0].strip()) for line in lines if line and line[0] != "#"]
        elif block:
            found.append((language, block))
        elif re.match(r"(\S+=\S+ )?msrn\s+\S+\s+\S", inline):
            found.append(("bash", " ".join(inline.split())))
    return [each for each in found if each[1] not in MENTIONED]


def exempt(command: str) -> bool:
    """Whether a command is one of those that are not run."""
    return command.startswith(tuple(EXEMPT))


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder, also the home, with the files that the pages speak of."""
    photo = Image.open(ROOT / "demo" / "photographs" / "chelsea.png").convert("RGB").crop((100, 50, 164, 98))
    for folder in ("album", "Pictures", "DATA/DIV2K/DIV2K_train_HR", "DATA/Flickr2K", "DATA/set5", "DATA/classic5"):
        (tmp_path / folder).mkdir(parents=True)
        photo.save(tmp_path / folder / "one.png")
        photo.rotate(180).save(tmp_path / folder / "two.png")
    photo.save(tmp_path / "photo.jpg", quality=30)
    (tmp_path / "scenes").mkdir()
    for name in ("photo.png", "noisy.png", "small.png", "scene.tif", "scenes/field.tif"):
        photo.save(tmp_path / name)
    photo.save(tmp_path / "cat.gif", save_all=True, append_images=[photo.rotate(180)], duration=100)
    for folder in ("Desktop", ".local/share/bash-completion/completions"):
        (tmp_path / folder).mkdir(parents=True)
    with tarfile.open(tmp_path / f"onnxruntime-web-{TESTED_RUNTIME}.tgz", "w:gz") as archive:
        for name in ("package.json", *(f"dist/{file}" for file in RUNTIME)):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = 15
            archive.addfile(entry, BytesIO(b'{"version":"1"}'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(parity, "_SIZES", 1)  # of 20, which tests/restoration/test_export.py compares
    return tmp_path


@pytest.fixture
def serve(workplace):
    """Starts the service as a page says, instead of the one before; all must end as they should."""
    running: list[Service] = []

    def stop() -> None:
        while running:
            assert running.pop().stop() == 0

    def start(*options: str, **environment: str) -> None:
        stop()
        running.append(Service(workplace / "kept", *options, BROWSER="true", **environment))

    start.running = running
    yield start
    stop()


def run_curl(command: str, service: Service) -> None:
    """Ask the running service what a page tells to ask, at its own port; the answer must be an image, or a job."""
    if not shutil.which("curl"):
        pytest.skip("no curl")
    words = shlex.split(command.replace(":8765/", f":{service.port}/"))
    said = subprocess.run([*words, "--fail", "--silent", "--show-error"], check=True, capture_output=True).stdout
    if "-o" in words:
        Image.open(words[words.index("-o") + 1]).load()
    else:
        assert json.loads(said)["events"]


def run(command: str, msrn, serve) -> None:
    """Run a command as a user would, but for no longer than a test may take."""
    words = shlex.split(command, comments=True)
    given = dict(words.pop(0).split("=", 1) for _ in range(2) if "=" in words[0])
    if words[0] == "curl":
        return run_curl(command, serve.running[0])
    assert words.pop(0) == "msrn", command
    if words[0] == "serve" and "--launcher" not in words:
        return serve(*words[1:], **given)
    kept = next((at for at, word in enumerate(words) if word in (">", "|")), len(words))
    words = [str(Path(word).expanduser()) if word.startswith("~") else word for word in words[:kept]]
    words = [str(path) for word in words for path in (Path().glob(word) if "*" in word else [word])]
    more = "--threads 1" if "--resume" in words else SMALL.get(words[0], "")
    done = msrn(*words, *more.split())
    answers = (0, 3) if words[0] == "verify" else (0,)  # what it found is no failure
    assert done.returncode in answers, (command, done.stderr)
    assert done.stdout or kept == len(words)
    return None


@pytest.mark.parametrize("page", [page for page in PAGES if told(DOCS / f"{page}.md")])
def test_what_a_page_says_runs(page, workplace, msrn, serve):
    every = [(kind, text) for kind, text in told(DOCS / f"{page}.md") if kind != "text" and not exempt(text)]
    # What is to be verified is made by other commands of the page.
    for kind, text in sorted(every, key=lambda each: each[1].startswith("msrn verify")):
        if kind == "python":
            exec(text, {})
        else:
            run(text, msrn, serve)


def test_nothing_that_pages_tell_is_left_out():
    """Blocks say what they are; a command stands in one that is run, or is exempt; so are no more than need be."""
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (*DOCS.glob("*.md"), ROOT / "README.md")}
    commands = []
    for name, text in pages.items():
        assert not re.search(r"\n\n {4}\S", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)), (name, "fence it")
        for kind, told_text in told(ROOT / "README.md" if name == "README" else DOCS / f"{name}.md"):
            assert kind in ("bash", "python", "text"), (name, told_text)
            if kind == "text":
                assert not re.search(r"^(msrn|python|curl|pip) ", told_text, re.MULTILINE), (name, told_text)
            elif kind == "bash":
                commands.append(told_text)
                assert exempt(told_text) or re.match(r"(\S+=\S+ )?(msrn|curl) ", told_text), (name, told_text)
    for start in EXEMPT:
        assert any(command.startswith(start) for command in commands), f"exempt, but told nowhere: {start}"
    inline = {" ".join(code.split()) for text in pages.values() for *_, code in CODE.findall(text)}
    assert inline >= MENTIONED
    assert {*PAGES, *ELSEWHERE} == pages.keys()


def test_programs_that_pages_name_are_there():
    """Scripts and tests that are too long to run exist, and know the options that pages give them."""
    named = re.compile(r"python3?\s(?:-m\s)?((?:scripts|tests)[./][\w./]+)((?:\s+[\w.=-]+)*)")
    found = 0
    for path in (*DOCS.glob("*.md"), ROOT / "README.md"):
        for place, options in named.findall(path.read_text(encoding="utf-8")):
            file = ROOT / (place if place.endswith(".py") else place.strip(".").replace(".", "/") + ".py")
            assert file.is_file(), (path.name, place)
            found += 1
            for option in re.findall(r"--[a-z][\w-]*", options):
                assert f'"{option}"' in file.read_text(encoding="utf-8"), (path.name, place, option)
    assert found > 20
