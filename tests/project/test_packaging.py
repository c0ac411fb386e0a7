"""The files around the package say the same as the package: version, Python, and what it requires."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = (ROOT / "packaging" / "conda" / "meta.yaml").read_text()


def test_every_version_is_the_projects():
    assert f'set version = "{PROJECT["version"]}"' in RECIPE
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_conda_recipe_requires_what_the_package_does():
    needed = [Requirement(line) for line in PROJECT["dependencies"]]
    here = {need.name: str(need.specifier) for need in needed if need.marker is None}
    run = RECIPE.partition("\n  run:\n")[2].partition("\n\n")[0]
    listed = re.findall(r"^    - ([a-z_-]+)(?: (.*))?$", run, re.MULTILINE)
    assert {name: version for name, version in listed if name != "python"} == here


def test_workflows_try_every_python_that_is_promised():
    tried = re.search(r"python: (\[.*\])", (ROOT / ".github" / "workflows" / "tests.yml").read_text())
    assert tried is not None
    promised = [re.search(r":: (3\.\d+)$", line) for line in PROJECT["classifiers"]]
    assert set(re.findall(r"3\.\d+", tried[1])) >= {match[1] for match in promised if match}


@pytest.mark.parametrize("file", [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"], ids=str)
def test_yaml_is_yaml(file):
    yaml = pytest.importorskip("yaml")
    assert isinstance(yaml.safe_load(file.read_text()), dict)


def test_no_link_is_committed():
    """A link to an environment would replace the environment of whoever takes the commit."""
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a clone")
    assert [line for line in listed.stdout.splitlines() if line.startswith("120000")] == []
