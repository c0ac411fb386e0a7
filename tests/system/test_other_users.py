"""Another user of this machine attacks what is kept and run later. Needs root, who can be two users; skipped without.

The attacker is a forked process with another user's rights; the attacked is root.
"""

import logging
import os
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
import pytest

from msrn.errors import UsageError
from msrn.network import weights
from msrn.network.graph import fuse
from msrn.restoration import backends
from msrn.restoration.backends import Choice, Processor, create
from msrn.restoration.restorer import Restorer
from msrn.service.kept_files import claimed
from msrn.system.private_files import SharedError, private_folder, read_private

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can be two users at once"
)
ATTACKER = 64321
PLANES = np.random.default_rng(0).random((1, 1, 30, 41), dtype=np.float32)


def as_attacker(act):
    """Run a function with another user's rights, in a process of its own."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(ATTACKER, ATTACKER, ATTACKER)
            os.setresuid(ATTACKER, ATTACKER, ATTACKER)
            os.umask(0)
            act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def shared():
    """A folder like ``/tmp``, which both can reach; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o1777)
        yield Path(name)


def test_nothing_of_ours_can_be_changed_removed_or_replaced(shared):
    kept = private_folder(shared / "cache") / "model.bin"
    kept.write_bytes(b"model")

    def attack():
        attempts = [
            lambda: kept.read_bytes(),
            lambda: kept.write_bytes(b"evil"),
            lambda: kept.unlink(),
            lambda: kept.with_name("another").write_bytes(b"evil"),
            lambda: list(kept.parent.iterdir()),
            lambda: kept.parent.chmod(0o777),
            lambda: kept.parent.rename(shared / "elsewhere"),
            lambda: os.link(kept, shared / "link"),
        ]
        for attempt in attempts:
            with pytest.raises(PermissionError):
                attempt()

    as_attacker(attack)
    assert read_private(kept) == b"model"


def test_whatever_another_user_made_is_refused(shared):
    private_folder(shared / "own")

    def attack():
        (shared / "cache").mkdir(0o755)  # closed to others now, but its owner can open it at any time
        (shared / "cache" / "model.bin").write_bytes(b"evil")
        (shared / "link").symlink_to(shared / "own")
        (shared / "open").mkdir(0o777)
        (shared / "service").mkdir(0o777)

    as_attacker(attack)
    for use in (
        lambda: private_folder(shared / "cache"),
        lambda: read_private(shared / "cache" / "model.bin"),
        lambda: private_folder(shared / "open" / "inductor", in_place=True),
    ):
        with pytest.raises(SharedError, match="another user's"):
            use()
    with pytest.raises(OSError):  # noqa: PT011 (a link, which each system has its own words for)
        private_folder(shared / "link")
    with pytest.raises(UsageError, match="another user's"), claimed(shared / "service"):
        pass
    assert (shared / "service").stat().st_uid == ATTACKER, "nothing was changed"


@pytest.mark.skipif(not backends.installed("openvino"), reason="openvino is not installed")
def test_a_model_that_another_user_planted_computes_nothing(shared, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "msrn")
    monkeypatch.setenv("MSRN_CACHE", str(shared / "attackers"))
    loaded = weights.load("sr")
    arrays = {**loaded.arrays, "reconstruct.bias": loaded.arrays["reconstruct.bias"] + np.float32(0.25)}
    graph, ranges = fuse(loaded.card.config, arrays), loaded.card.ranges
    create(Choice("openvino", "int8"), graph, ranges, Processor(), 1, loaded.content)  # as if it were the file's own
    (model,) = (shared / "attackers").iterdir()
    data = model.read_bytes()

    def attack():
        (shared / "cache").mkdir(0o755)
        (shared / "cache" / model.name).write_bytes(data)

    as_attacker(attack)
    computed = {}
    for name in ("cache", "attackers", "new"):
        monkeypatch.setenv("MSRN_CACHE", str(shared / name))
        computed[name] = Restorer("sr", device="cpu", backend="openvino", precision="int8").restore_planes(PLANES)
    assert np.abs(computed["attackers"] - computed["new"]).mean() > 0.1, "in a folder of ours it would be used"
    np.testing.assert_array_equal(computed["cache"], computed["new"])
    assert f"{shared / 'cache'} is another user's" in caplog.text


def test_a_library_is_not_looked_for_where_another_user_could_swap_the_folder(shared, monkeypatch, caplog):
    pytest.importorskip("torch")
    from msrn.restoration.backends.pytorch import keep_compiled_code_private

    as_attacker(lambda: (shared / "open").mkdir(0o777))
    private_folder(shared / "open" / "cache")  # ours and closed, but whoever owns what is around it may rename it
    as_attacker(lambda: (shared / "open" / "cache").rename(shared / "open" / "away"))
    private_folder(shared / "open" / "cache")
    monkeypatch.setenv("MSRN_CACHE", str(shared / "open" / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    keep_compiled_code_private()
    chosen = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert shared not in chosen.parents
    assert chosen.stat().st_mode & 0o777 == 0o700
    assert "compiled code is not kept" in caplog.text
    chosen.rmdir()
