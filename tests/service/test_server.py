"""Where it listens, and what happens when it is started twice."""

import socket
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
