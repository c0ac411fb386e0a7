"""A Ray cluster of several nodes on this machine, and a manifest that it restores with a node and a driver lost.

``python -m tests.helpers.ray_cluster MANIFEST OUTPUT`` starts two nodes of one core, kills the first driver when a
quarter of the outputs is there, starts a second one, removes a node without warning when half of them are there, and
prints as JSON how it went. A process of its own, as whoever starts a cluster gets its warnings and keeps its books.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msrn.batch.cluster import ManifestTable, place_at
from msrn.batch.cluster.results import rows_done

_SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 2}
"""Notices in a second that a node is gone; usually it takes 15."""


@contextmanager
def ray_cluster(nodes: int, cores: int = 1, system: dict[str, int] | None = None):
    """A running cluster, which has ``address`` and ``remove_node``, and its nodes after the first one.

    Each node has other cores of this machine than the others, as far as there are so many.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    size = {"num_cpus": cores, "object_store_memory": 80 << 20}
    with on_cores(0, cores):
        cluster = Cluster(True, head_node_args={**size, "include_dashboard": False, "_system_config": system})
    try:
        others = list[Any]()
        for number in range(1, nodes):
            with on_cores(number * cores, cores):
                others.append(cluster.add_node(**size))
        yield cluster, others
    finally:
        cluster.shutdown()


@contextmanager
def on_cores(first: int, count: int):
    """What is started in the block may use so many cores, if this machine has them (Linux)."""
    wanted = set(range(first, first + count))
    if not hasattr(os, "sched_setaffinity") or not wanted <= set(range(os.cpu_count() or 1)):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def driver(manifest: str, output: str, *options: str) -> "subprocess.Popen[str]":
    """Start ``msrn restore`` on a manifest."""
    command = [sys.executable, "-m", "msrn", "restore", "--manifest", manifest, "-o", output, "--json", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 600) -> None:
    """Wait until a condition holds, as long as a process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"ended too soon: {process.communicate()}")
        time.sleep(0.02)


def made(output: str) -> int:
    """Number of outputs."""
    return sum(1 for name, _ in place_at(output).names() if not name.startswith("msrn-results/"))


def main(where: str, output: str) -> None:
    manifest, place = ManifestTable(where), place_at(output)
    with ray_cluster(2, system=_SOON) as (cluster, (second,)):
        first = driver(where, output, "--cluster", cluster.address)
        wait_for(lambda: made(output) >= manifest.rows // 4 and rows_done(place, 0, manifest.rows).any(), first)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        time.sleep(0.5)  # Ray ends the actors of a driver that is gone
        at_kill, recorded = made(output), rows_done(place, 0, manifest.rows).nonzero()[0].tolist()
        again = driver(where, output, "--cluster", cluster.address)
        wait_for(lambda: made(output) >= max(manifest.rows // 2, at_kill + 1), again)
        at_loss = made(output)
        cluster.remove_node(second, allow_graceful=False)
        said, messages = again.communicate()
    known = {"killed": first.returncode, "at_kill": at_kill, "recorded": recorded, "at_loss": at_loss}
    known |= {"code": again.returncode, "said": json.loads(said or "{}"), "messages": messages}
    sys.stdout.write("\n" + json.dumps(known))


if __name__ == "__main__":
    main(*(str(Path(path).absolute()) for path in sys.argv[1:3]))
