"""A group of processes that train together, forked before anything has computed or made threads.

``python -m tests.helpers.group RECIPE DATA FOLDER DEATH`` runs two processes, as torchrun would start them, and prints
how each ended. ``RANK`` in DATA stands for the process's rank. Rank 1 dies before step DEATH; none at -1. Under
torchrun itself (``RANK`` is in the environment) it is one process of that group, and dies in the first attempt only.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

import torch
import torch._dynamo  # which the first optimiser of a process would import: two seconds for every one that is forked

from msrn.training.patches import Feed
from msrn.training.recipe_file import validate
from msrn.training.setting import Computing
from msrn.training.trainer import fit


def member(values, data, folder, death):
    """Train as one process of the group that the environment describes."""
    torch.set_num_threads(1)
    draw, rank = Feed.parts, os.environ["RANK"]

    def parts(self, step):
        if step == death and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0" and rank == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(self, step)

    Feed.parts = parts
    fit(validate(values, "group"), Path(data.replace("RANK", rank)), folder, Computing("cpu", "fp32"))


def fork(rank, port, arguments):
    """Start a process of a group of two; returns its id and where it says what went wrong."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        member(*arguments)
    except BaseException as error:
        os.write(write, f"{type(error).__name__}: {error}".encode())
    os._exit(0)


def main(arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = [fork(rank, port, arguments) for rank in range(2)]
    said = [os.fdopen(read).read() for _, read in group]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, _ in group]
    sys.stdout.write(json.dumps([says or code for says, code in zip(said, codes, strict=True)]))


if __name__ == "__main__":
    recipe, data, folder, death = json.loads(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    if "RANK" in os.environ:
        member(recipe, data, folder, death)
    else:
        main((recipe, data, folder, death))
