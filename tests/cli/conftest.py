"""A photograph, weights that return their input, and commands without a process of their own."""

import logging
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tests.helpers.networks import identity_weights

from msrn.cli import main
from msrn.network import weights


@pytest.fixture(scope="package")
def identity(tmp_path_factory):
    """Weights files, by task."""
    folder = tmp_path_factory.mktemp("weights")
    return {task: weights.save(identity_weights(task), folder, task) for task in ("sr", "denoise", "jpeg")}


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def msrn(capsys, monkeypatch):
    """Runs a command to its end in this process, which has the libraries at hand; see ``helpers.command``."""
    log = logging.getLogger("msrn")
    before = log.handlers, log.propagate, log.level

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["msrn", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    yield run
    log.handlers, log.propagate, log.level = before
