"""The container's recipe: what it promises, and its own commands in an environment with nothing else in it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.helpers.plain_environment import command, link, link_sources, required

from msrn.service.client import Client

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
START = "import sys; sys.argv = ['msrn', *sys.argv[1:]]; from msrn.cli import main; main()"


def words_of(instruction):
    """The words of the last instruction of a name."""
    return json.loads(re.findall(rf"^\s*{instruction}.*?(\[.*\])\s*$", TEXT, re.MULTILINE)[-1])


def test_it_runs_without_root_and_says_how_it_is():
    assert re.findall(r"^USER (\d+)$", TEXT, re.MULTILINE)[-1] != "0"
    assert "HEALTHCHECK" in TEXT
    assert '".[serve]"' in TEXT
    copied = {name for line in re.findall(r"^COPY (?!--)(.*) \S+$", TEXT, re.MULTILINE) for name in line.split()}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied <= allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_page_tells_what_its_first_lines_tell():
    page = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    lines = re.findall(r"^#   (docker .*)$", TEXT, re.MULTILINE)
    assert len(lines) == 2
    assert "```bash\n" + "\n".join(lines) + "\n```" in page


def test_its_commands_work_in_a_plain_environment(tmp_path, photo):
    """The entry point serves and the health check finds that it does, with the base install and the extra alone."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["serve"]
    names = required("msrn-pytorch", set()) - {"msrn-pytorch"}
    for line in extra:
        required(Requirement(line).name, names)
    assert "torch" not in names
    (tmp_path / "site").mkdir()
    site = link_sources(link(tmp_path / "site", names))
    cache = tmp_path / "cache"
    cache.mkdir()
    variables = {"PATH": os.environ["PATH"], "MSRN_CACHE": str(cache), "TMPDIR": str(cache), "MSRN_TOKEN": "secret"}
    words = words_of("ENTRYPOINT")
    assert words[0] == "msrn"
    serving = subprocess.Popen(
        command(site, START, *words[1:], "--port", "0"), cwd=cache, env=variables, stderr=subprocess.PIPE, text=True
    )
    try:
        port = re.search(r"localhost:(\d+)/", serving.stderr.readline())[1]
        check = [word.replace("8765", port) for word in words_of("HEALTHCHECK")]
        assert check[:2] == ["python", "-c"]
        healthy = subprocess.run(command(site, check[2]), capture_output=True, text=True)
        assert healthy.returncode == 0, healthy.stderr
        assert Client(f"http://127.0.0.1:{port}", "secret").restore(photo).startswith(b"\x89PNG")
    finally:
        serving.terminate()
        assert serving.wait(60) == 0
        serving.stderr.close()


def test_hadolint_finds_nothing():
    program = shutil.which("hadolint", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if program is None:
        pytest.skip("no hadolint")
    done = subprocess.run([program, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
