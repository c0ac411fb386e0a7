"""Files that are created only if they are absent, however many create them at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from msrn.errors import OutputError
from msrn.system.atomic import create_atomically, sweep, write_atomically


def create(path, content: bytes) -> bool:
    return create_atomically(path, lambda file: file.write(content))


def without_links(*_):
    raise PermissionError(1, "Operation not permitted")


@pytest.fixture(params=["links", "no links"])
def links(request, monkeypatch):
    """Creates with hard links, and as where there are none."""
    if request.param == "no links":
        monkeypatch.setattr(os, "link", without_links)


@pytest.mark.usefixtures("links")
def test_of_many_at_once_one_creates_the_file_and_nothing_else_is_left(tmp_path):
    starters = 8
    together = Barrier(starters)

    def begin(number: int) -> bool:
        def write(file):
            file.write(str(number).encode() * 1000)
            together.wait()  # all found nothing there

        return create_atomically(tmp_path / "deep" / "x", write)

    with ThreadPoolExecutor(starters) as pool:
        made = list(pool.map(begin, range(starters)))
    assert sum(made) == 1
    assert (tmp_path / "deep" / "x").read_bytes() == str(made.index(True)).encode() * 1000
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x"]


@pytest.mark.usefixtures("links")
def test_what_exists_is_left_as_it_is(tmp_path):
    assert create(tmp_path / "x", b"first")
    assert not create(tmp_path / "x", b"second")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    assert not create(tmp_path / "nowhere", b"through a link")
    assert (tmp_path / "x").read_bytes() == b"first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nowhere", "x"]


def test_what_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "x", tmp_path / "null\0", tmp_path / ("long" * 100)):
        with pytest.raises(OutputError, match="cannot write"):
            create(path, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_recent_files_of_other_machines_are_not_swept(tmp_path):
    old, new = tmp_path / ".msrn-old.tmp", tmp_path / ".msrn-new.tmp"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    sweep(tmp_path, older_than=3600)
    assert list(tmp_path.iterdir()) == [new]
    write_atomically(tmp_path / "x", lambda file: file.write(b""))
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
