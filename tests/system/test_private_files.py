"""What is kept and run later is read only where no other user can have written it."""

import os
import tempfile
from pathlib import Path

import pytest

from msrn.system.private_files import SharedError, private_folder, read_private

pytestmark = pytest.mark.skipif(os.name != "posix", reason="profiles are closed to others")


@pytest.fixture
def kept(tmp_path):
    file = private_folder(tmp_path / "a" / "cache") / "model.bin"
    file.write_bytes(b"model")
    file.chmod(0o600)
    return file


def test_what_is_ours_alone_is_read(kept):
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert private_folder(kept.parent) == kept.parent
    assert read_private(kept) == b"model"
    with pytest.raises(FileNotFoundError):
        read_private(kept.with_name("other.bin"))


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(kept, mode):
    kept.parent.chmod(mode)
    for use in (lambda: read_private(kept), lambda: private_folder(kept.parent)):
        with pytest.raises(SharedError, match="other users can write"):
            use()


def test_a_file_that_others_can_write_to_is_refused(kept):
    kept.chmod(0o620)
    with pytest.raises(SharedError, match="other users can write"):
        read_private(kept)


def test_another_users_folder_is_refused(kept, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: kept.stat().st_uid + 1)
    for use in (lambda: read_private(kept), lambda: private_folder(kept.parent)):
        with pytest.raises(SharedError, match="another user's"):
            use()


def test_links_are_not_followed(kept, tmp_path):
    link = kept.with_name("link.bin")
    link.symlink_to(kept)
    folder = tmp_path / "linked"
    folder.symlink_to(kept.parent)
    for use in (lambda: read_private(link), lambda: read_private(folder / kept.name), lambda: private_folder(folder)):
        with pytest.raises(OSError):  # noqa: PT011 (each system has its own words)
            use()


def test_a_folder_is_in_place_where_nobody_else_can_rename_what_is_around_it():
    with tempfile.TemporaryDirectory() as name:  # other tests open pytest's own folders to all
        around = Path(name).resolve()
        folder = private_folder(around / "cache", in_place=True)
        around.chmod(0o1777)  # as /tmp: only who owns a file in it may rename that
        assert private_folder(around / "cache", in_place=True) == folder
        around.chmod(0o777)
        assert private_folder(around / "cache") == folder
        with pytest.raises(SharedError, match="rename what is in it"):
            private_folder(around / "cache", in_place=True)
