"""A file to double-click, on each system."""

import os
import shlex
import sys

import pytest

from msrn.service.launcher import launcher, write_launcher


@pytest.mark.parametrize(
    ("system", "python", "name", "words"),
    [
        ("linux", "/opt/my apps/python", "msrn.desktop", 'Exec="/opt/my apps/python" -m msrn.cli serve --open'),
        ("darwin", "/opt/my apps/python", "MSRN.command", "exec '/opt/my apps/python' -m msrn.cli serve --open"),
        ("win32", r"C:\My Apps\python.exe", "MSRN.bat", '"C:\\My Apps\\python.exe" -m msrn.cli serve --open'),
    ],
)
def test_each_system_has_its_own(system, python, name, words):
    found, text = launcher(system, python)
    assert found == name
    assert words in text
    assert text.endswith("\r\n" if system == "win32" else "\n")


def test_it_is_written_to_be_run(tmp_path):
    path = write_launcher(tmp_path / "desktop")
    assert os.access(path, os.X_OK)
    assert sys.executable in shlex.split(path.read_text().replace("Exec=", " "))
