"""Where it listens, and what happens when it is started twice."""

import socket
import subprocess
import sys
import webbrowser

import pytest

from msrn.errors import UsageError
from msrn.service.server import serve
from msrn.service.settings import ServiceSettings


def test_started_again_to_be_looked_at_it_shows_the_page_that_is_there(service, monkeypatch):
    opened, said = [], []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    again = ServiceSettings(port=0, cache=service.cache)  # as a launcher starts it
    serve(again, open_page=True, say=said.append)
    assert opened == [f"{service.address}/"]
    assert (service.cache / ".address").stat().st_mode & 0o077 == 0, "whoever may write it chooses the page"
    assert said == [f"the page is at {service.address}/ already"]
    with pytest.raises(UsageError, match="another service keeps its files"):
        serve(again)


def test_another_programs_address_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", pytest.fail)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        settings = ServiceSettings(port=other.getsockname()[1], cache=tmp_path / "kept")
        with pytest.raises(UsageError, match="choose another by --port"):
            serve(settings, open_page=True)
    assert not (tmp_path / "kept").exists()


def test_asked_to_end_as_soon_as_its_address_is_told_it_ends_as_it_should(tmp_path):
    program = """
import os, signal, sys
from pathlib import Path
from msrn.service.server import serve
from msrn.service.settings import ServiceSettings
serve(ServiceSettings(port=0, cache=Path(sys.argv[1])), say=lambda text: os.kill(os.getpid(), signal.SIGTERM))
"""
    assert subprocess.run([sys.executable, "-c", program, tmp_path / "kept"], timeout=60).returncode == 0
    assert not (tmp_path / "kept" / ".address").exists()
