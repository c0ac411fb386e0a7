"""Files are kept by name, within a limit, those in use in any case, over restarts and after kills."""

import os

import pytest

from msrn.errors import UsageError
from msrn.service.kept_files import KeptFiles, claimed


def put(files, name, size):
    temporary = files.temporary()
    temporary.write_bytes(bytes(size))
    return files.keep(temporary, name)


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    files = KeptFiles(tmp_path, 100)
    for name in ("a", "b", "c"):
        put(files, name, 30)
    assert files.find("a") is not None
    put(files, "d", 30)
    assert [name for name in "abcd" if files.find(name)] == ["a", "c", "d"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "d"]
    assert files.bytes == 90


def test_what_is_in_use_stays_and_goes_afterwards(tmp_path):
    files = KeptFiles(tmp_path, 0)
    with files.using("a"):
        put(files, "a", 30)
        put(files, "b", 30)
        put(files, "c", 1)
        assert [name for name in "abc" if files.find(name)] == ["a", "c"]
    assert files.find("a") is None
    assert files.bytes == 0


def test_another_start_finds_them_and_removes_what_a_killed_service_left(tmp_path):
    first = KeptFiles(tmp_path, 100)
    for age, name in enumerate(("old", "new")):
        os.utime(put(first, name, 40), (age, age))
    first.temporary().write_bytes(b"half")
    again = KeptFiles(tmp_path, 50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]
    assert again.find("new") is not None
    assert again.find("old") is None


def test_a_file_that_somebody_removed_is_not_found(tmp_path):
    files = KeptFiles(tmp_path, 100)
    put(files, "a", 10).unlink()
    assert files.find("a") is None
    assert files.bytes == 0


def test_a_folder_is_one_services_alone(tmp_path):
    with claimed(tmp_path / "kept"):
        assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
        with pytest.raises(UsageError, match="another service keeps its files"), claimed(tmp_path / "kept"):
            pass


@pytest.mark.skipif(os.name != "posix", reason="profiles are closed to others")
def test_a_folder_that_others_can_write_to_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match=r"other users can write to .*--cache"), claimed(tmp_path):
        pass
