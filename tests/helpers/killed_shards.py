"""Restore shards of a manifest at the same time, each killed a few times before it may end, as a program of its own.

``python -m tests.helpers.killed_shards MANIFEST OUTPUT KILLS SEED SHARD...`` forks a process for each shard, kills each
``KILLS`` times when it has made a few outputs, starts it again, and prints how they ended as JSON.
"""

import json
import os
import random
import select
import signal
import sys

from msrn.batch.cluster import Computing, ManifestTable, Shard, restore_shard, results
from msrn.restoration import restorer  # noqa: F401 - here, as every life needs it

ROWS = 3
"""Results in a file of records, so that killed lives leave some."""


def live(manifest: str, output: str, shard: str, told: int) -> None:
    """One life: restore what is left, and tell of each image."""
    results._ROWS = ROWS

    def done(*_: object) -> None:
        os.write(told, b".")

    restore_shard(ManifestTable(manifest), output, Shard.parse(shard), Computing(device="cpu"), done=done)


class Life:
    """A process that restores a shard, and after how many images it is killed; never, if 0."""

    def __init__(self, manifest: str, output: str, shard: str, kill_after: int) -> None:
        self.shard, self.kill_after, self.images = shard, kill_after, 0
        self.read, told = os.pipe()
        self.process = os.fork()
        if not self.process:
            try:
                live(manifest, output, shard, told)
                os._exit(0)
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
            finally:
                os._exit(4)
        os.close(told)

    def has_ended(self) -> bool:
        """Count what it tells, and kill it when its time has come."""
        said = os.read(self.read, 100)
        self.images += len(said)
        if self.kill_after and self.images >= self.kill_after:
            os.kill(self.process, signal.SIGKILL)
            said = b""
        return not said

    def code(self) -> int:
        """How it ended."""
        os.close(self.read)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def main(manifest: str, output: str, kills: int, seed: int, shards: list[str]) -> None:
    moments = random.Random(seed)
    left = {number: [moments.randint(1, 2 * ROWS) for _ in range(kills)] for number in range(len(shards))}
    lives = {number: Life(manifest, output, shard, left[number].pop()) for number, shard in enumerate(shards)}
    killed = failed = 0
    while lives:
        ready, _, _ = select.select([life.read for life in lives.values()], [], [])
        for number, life in list(lives.items()):
            if life.read in ready and life.has_ended():
                code = life.code()
                killed += code == -signal.SIGKILL
                failed += code not in (0, -signal.SIGKILL)
                del lives[number]
                if code == -signal.SIGKILL:
                    after = left[number].pop() if left[number] else 0
                    lives[number] = Life(manifest, output, life.shard, after)
    sys.stdout.write(json.dumps({"killed": killed, "failed": failed}))


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
