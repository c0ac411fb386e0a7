"""The files for other programs: syntax, and that they call what there is, as far as that can be told without them."""

import ast
import configparser
import importlib
import importlib.util
import os
import plistlib
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.networks import random_weights

import msrn
from msrn.cli import COMMANDS
from msrn.network.config import MSRNConfig
from msrn.restoration.export import export, parity

PACKAGING = Path(__file__).parents[2] / "packaging"
MANAGERS = PACKAGING / "file-managers"
KNOWN = {place.partition(":")[2] for places in COMMANDS.values() for place in places}


def module(path, name):
    """A file of packaging as a module."""
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    return made


@pytest.fixture
def photo(tmp_path):
    """A photograph with a name that shells stumble over."""
    path = tmp_path / "it's $HOME; 100% b.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (16, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((40, 32)).save(path, quality=30)
    return path


@pytest.fixture
def on_path(tmp_path):
    """An environment in which ``msrn`` is a program on the path."""
    program = tmp_path / "bin" / "msrn"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m msrn "$@"\n')
    program.chmod(0o755)
    return os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}


def calls(text):
    """The commands of ``msrn`` in a script."""
    words = text.replace('"', " ").split()
    return [after for before, after in pairwise(words) if before.endswith(("msrn", "msrn}"))]


@pytest.mark.skipif(os.name == "nt", reason="for GNOME")
def test_nautilus_restores_beside_the_photograph(photo, on_path):
    script = MANAGERS / "nautilus" / "Restore with MSRN"
    assert os.access(script, os.X_OK)
    chosen = {"NAUTILUS_SCRIPT_SELECTED_FILE_PATHS": f"{photo}\n", "DISPLAY": ""}
    done = subprocess.run([script], env=on_path | chosen, capture_output=True, text=True)
    assert photo.with_name("it's $HOME; 100% b_restored.png").is_file(), done.stdout + done.stderr
    assert not list(photo.parent.glob("*.jsonl"))


@pytest.mark.skipif(os.name == "nt", reason="for KDE")
def test_dolphin_restores_beside_the_photograph(photo, on_path):
    file = configparser.ConfigParser(interpolation=None)
    file.read(MANAGERS / "dolphin" / "msrn.desktop")
    actions = file["Desktop Entry"]["Actions"].strip(";").split(";")
    assert {f"Desktop Action {each}" for each in actions} | {"Desktop Entry"} == set(file.sections())
    for action, result in zip(actions, ("it's $HOME; 100% b_restored.png", "it's $HOME; 100% b_x2.png"), strict=True):
        words = shlex.split(file[f"Desktop Action {action}"]["Exec"])
        assert words.pop() == "%F"
        done = subprocess.run([*(word.replace("%%", "%") for word in words), photo], env=on_path, capture_output=True)
        assert photo.with_name(result).is_file(), done.stderr


def test_finders_and_explorers_files_are_sound():
    contents = MANAGERS / "finder" / "Restore with MSRN.workflow" / "Contents"
    service = plistlib.loads((contents / "Info.plist").read_bytes())["NSServices"][0]
    assert service["NSMessage"] == "runWorkflowAsService"
    (action,) = plistlib.loads((contents / "document.wflow").read_bytes())["actions"]
    script = action["action"]["ActionParameters"]["COMMAND_STRING"]
    assert subprocess.run(["sh", "-n", "-c", script]).returncode == 0
    assert set(calls(script)) == {"restore"}
    for path in (MANAGERS / "explorer").glob("*.cmd"):
        data = path.read_bytes()
        assert data.count(b"\n") == data.count(b"\r\n"), "cmd.exe wants its own line ends"
        assert set(calls(data.decode("ascii"))) <= KNOWN


def test_gimps_plug_in_calls_the_command(photo, tmp_path, monkeypatch):
    path = PACKAGING / "gimp" / "msrn" / "msrn.py"
    assert os.access(path, os.X_OK)
    assert path.parent.name == path.stem, "GIMP looks for a file of the folder's name"
    plug_in = module(path, "gimp_plug_in")
    assert {command for _, command, _ in plug_in.PROCEDURES.values()} <= KNOWN
    monkeypatch.setenv("MSRN_COMMAND", f"{shlex.quote(sys.executable)} -m msrn")
    assert plug_in.restore("dejpeg", photo, tmp_path / "after.png") == ""
    assert (tmp_path / "after.png").is_file()
    assert "msrn: error: " in plug_in.restore("dejpeg", path, tmp_path / "no.png")
    monkeypatch.setenv("MSRN_COMMAND", str(tmp_path / "absent"))
    assert "install msrn-pytorch" in plug_in.restore("dejpeg", photo, tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()


def test_naparis_manifest_names_functions_that_restore(monkeypatch):
    yaml = pytest.importorskip("yaml")
    monkeypatch.syspath_prepend(PACKAGING / "napari")
    manifest = yaml.safe_load((PACKAGING / "napari" / "msrn_napari" / "napari.yaml").read_text())
    contributed = manifest["contributions"]
    functions = {}
    for command in contributed["commands"]:
        assert command["id"].startswith(f"{manifest['name']}.")
        place, name = command["python_name"].split(":")
        functions[command["id"]] = getattr(importlib.import_module(place), name)
    assert {widget["command"] for widget in contributed["widgets"]} == functions.keys()
    stack = np.random.default_rng(0).random((2, 16, 18), dtype=np.float32)
    for name, function in functions.items():
        factor = 2 if name.endswith("upscale") else 1
        assert function(stack).shape == (2, 16 * factor, 18 * factor)
    np.testing.assert_allclose(functions["msrn-napari.denoise"](stack)[1], msrn.denoise(stack[1]), atol=1e-6)


def test_comfyuis_nodes_restore(monkeypatch):
    nodes = module(PACKAGING / "comfyui" / "__init__.py", "comfyui_nodes")
    assert nodes.NODE_CLASS_MAPPINGS.keys() == nodes.NODE_DISPLAY_NAME_MAPPINGS.keys()
    images = torch.rand(2, 16, 18, 3, generator=torch.Generator().manual_seed(0))
    for name, node in nodes.NODE_CLASS_MAPPINGS.items():
        given = {key: kind[1]["default"] for key, kind in node.INPUT_TYPES()["required"].items() if len(kind) > 1}
        (made,) = getattr(node(), node.FUNCTION)(images, **given)
        factor = 2 if name == "MSRNUpscale" else 1
        assert made.shape == (2, 16 * factor, 18 * factor, 3)
        assert made.dtype == torch.float32
        assert float(made.min()) >= 0


def test_vapoursynths_script_reads_scale_and_halo(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr(parity, "_SIZES", 1)
    script = module(PACKAGING / "vapoursynth" / "msrn_vs.py", "msrn_vs")
    export(random_weights("sr", MSRNConfig(1, 1, 2, unshuffle=2)), tmp_path / "x.onnx", "image", scale=3)
    assert script.facts(tmp_path / "x.onnx") == {"scale": "3", "halo": "5"}
    (tmp_path / "y.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="msrn export -f image"):
        script.facts(tmp_path / "y.onnx")


def test_every_python_file_parses():
    for path in PACKAGING.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
