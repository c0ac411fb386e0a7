"""A folder belongs to one process at a time, whatever becomes of that process."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from msrn.errors import OutputError, UsageError
from msrn.system.atomic import sweep
from msrn.system.locks import lock_file, locked

HOLDS = """
import sys
from pathlib import Path
from msrn.system.locks import locked
with locked(Path(sys.argv[1]), "taken"):
    print("holds", flush=True)
    sys.stdin.read()
"""
WRITES = """
import sys
from pathlib import Path
from msrn.system.atomic import write_atomically
def write(file):
    file.write(b"half")
    print("holds", flush=True)
    sys.stdin.read()
write_atomically(Path(sys.argv[1]) / "x", write)
"""


@contextmanager
def another_process(program, folder):
    """A process that has begun to hold a lock, and ends when it is told to or killed."""
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def test_a_folder_that_another_process_has_is_refused(tmp_path):
    with another_process(HOLDS, tmp_path) as process:
        with pytest.raises(OutputError, match="it is taken"), locked(tmp_path, "it is taken"):
            pass
        with pytest.raises(UsageError, match="it is taken"), locked(tmp_path, "it is taken", UsageError):
            pass
        process.communicate()
        with locked(tmp_path, "it is taken"):
            pass
    assert not list(tmp_path.iterdir())


def test_two_blocks_of_one_process_exclude_each_other(tmp_path):
    with locked(tmp_path, "taken"), pytest.raises(OutputError, match="taken"), locked(tmp_path, "taken"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_process_lets_go(tmp_path):
    with another_process(HOLDS, tmp_path) as process:
        process.kill()
        process.wait()
        assert list(tmp_path.iterdir())  # the lock file, without a lock
        with locked(tmp_path, "taken"):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user, as only root may")
@pytest.mark.parametrize("mode", [0o644, 0o666])
def test_what_another_users_killed_process_left_does_not_lock(tmp_path, mode):
    """Not even where an earlier version, or a mask, kept others from writing to it."""
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents[:-2]:
        folder.chmod(0o711)  # no more than they must be: other tests look at who can write there
    lock = tmp_path / ".msrn.lock"
    lock.write_text("")
    lock.chmod(mode)
    # Nobody may not even read the interpreter, perhaps: all that is needed is imported before.
    become_nobody = (
        "import os, filelock, msrn.system.locks; filelock.FileLock, filelock.lock_descriptor; os.setuid(65534)"
    )
    command = [sys.executable, "-c", become_nobody + HOLDS, str(tmp_path)]
    with lock.open("rb") as held:
        assert lock_file(held)
        refused = subprocess.run(command, input="", capture_output=True, text=True)
        assert refused.stderr.endswith("OutputError: taken\n")
    assert lock.exists()
    subprocess.run(command, input="", capture_output=True, text=True, check=True)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_made_and_removed_if_nothing_was_put_into_it(tmp_path):
    with locked(tmp_path / "deep" / "new", "taken"):
        assert (tmp_path / "deep" / "new").is_dir()
    assert not (tmp_path / "deep" / "new").exists()
    with locked(tmp_path / "new", "taken"):
        (tmp_path / "new" / "x").write_text("something")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]
    with locked(tmp_path / "deep", "taken"):
        pass
    assert (tmp_path / "deep").is_dir()  # it was there before


@pytest.mark.parametrize("name", ["file/below", "a\0b"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write to .*(below|null)"), locked(tmp_path / name, "taken"):
        pass


def test_temporary_files_are_swept_when_their_program_was_killed_and_not_before(tmp_path):
    with another_process(WRITES, tmp_path) as process:
        sweep(tmp_path)
        (temporary,) = tmp_path.iterdir()
        process.communicate()
        assert [path.name for path in tmp_path.iterdir()] == ["x"]
    (tmp_path / "x").unlink()
    with another_process(WRITES, tmp_path) as process:
        process.kill()
        process.wait()
        (temporary,) = tmp_path.iterdir()
        assert temporary.name.startswith(".msrn-")
        sweep(tmp_path)
    assert not list(tmp_path.iterdir())
