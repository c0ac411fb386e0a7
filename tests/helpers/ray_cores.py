"""Which cores the actors of a node have, and their decoders: ``python -m tests.helpers.ray_cores MANIFEST OUTPUT``.

Starts a node of two cores, lets a driver restore the manifest by actors of one core, and prints as JSON the cores of
every thread of each actor and of its decoders. A process of its own, as ``ray_cluster`` is.
"""

import json
import os
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from tests.helpers.ray_cluster import driver, ray_cluster, wait_for


def actors() -> dict[int, list[int]]:
    """Actors that descend from this process, and their decoders."""
    found = defaultdict[int, list[int]](list)
    parents = dict[int, int]()
    decoders = list[int]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"msrn.images.isolated" in (folder / "cmdline").read_bytes():
                decoders.append(int(folder.name))
    for decoder in decoders:
        above = [parents[decoder]]
        while above[-1] in parents:
            above.append(parents[above[-1]])
        with suppress(OSError):
            actor = (Path("/proc") / str(above[0]) / "cmdline").read_bytes().startswith(b"ray::")  # not the driver
            if actor and os.getpid() in above:
                found[above[0]].append(decoder)
    return found


def cores(process: int) -> list[list[int]]:
    """The cores of each thread of a process."""
    threads = (int(folder.name) for folder in Path(f"/proc/{process}/task").iterdir())
    return sorted({tuple(sorted(os.sched_getaffinity(thread))) for thread in threads})


def main(where: str, output: str) -> None:
    with ray_cluster(1, 2) as (cluster, _):
        process = driver(where, output, "--cluster", cluster.address, "--cores", "1")
        wait_for(lambda: len(actors()) == 2, process)
        found = actors()
        known = [(cores(actor), [cores(decoder) for decoder in decoders]) for actor, decoders in found.items()]
        process.communicate()
    sys.stdout.write("\n" + json.dumps(known))


if __name__ == "__main__":
    main(*(str(Path(path).absolute()) for path in sys.argv[1:3]))
