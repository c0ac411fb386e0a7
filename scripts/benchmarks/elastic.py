"""Two agents of torchrun on this machine: one is killed and comes back, and training ends as if nothing had been.

    python -m scripts.benchmarks.elastic [--steps 300]

The agents meet by c10d with ``--nnodes 1:2``. One is killed with its process, the other goes on alone from the last
checkpoint; the first one joins again, and both go on. Every process notes which part of which step's batch it drew.
Afterwards each step must have been drawn exactly once by the group whose result counts, in whole batches, and the
weights must be those of a run that nobody disturbed, to rounding.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from msrn.training import checkpoint
from msrn.training.patches import Feed
from msrn.training.recipe_file import validate
from msrn.training.setting import Computing
from msrn.training.trainer import fit

_ENVIRONMENT = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Without it, torch 2.13 tells whoever joins later nothing of where to meet."""
_FAST = "join_timeout=120,last_call_timeout=1,keep_alive_interval=1,keep_alive_max_attempt=3"
"""Waits of torchrun that are short enough to watch."""


def main() -> None:
    """Run the agents, or be one of their processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--member", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.member:
        train(given.member, "group", given.steps)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / "data" / "images")
        try:
            sizes = disturbed(folder, given.steps)
        except RuntimeError as error:
            raise SystemExit(f"{error}\n{(folder / 'agents.log').read_text()[-6000:]}") from error
        print(f"processes, from step to step: {sizes}")
        print("every step drawn exactly once, in whole batches, by the groups whose results count")
        train(folder, "alone", given.steps)
        apart = furthest(folder)
        print(f"weights differ from an undisturbed run's by at most {apart:.1e}")
        if apart > 1e-4:
            raise SystemExit(1)


def train(folder: Path, name: str, steps: int) -> None:
    """Train a tiny network, noting each draw."""
    draw, notes = Feed.parts, folder / f"{name}-draws"
    notes.mkdir(exist_ok=True)

    def noted(self: Feed, step: int) -> object:
        if name == "group":
            time.sleep(0.1)  # a step that takes as long as one of a real network, or it would be over too soon
        with (notes / f"{os.getpid()}.jsonl").open("a") as file:
            place = {key: int(os.environ.get(key, default)) for key, default in (("RANK", "0"), ("WORLD_SIZE", "1"))}
            file.write(json.dumps({"step": step, "time": time.time(), **place}) + "\n")
        return draw(self, step)

    Feed.parts = noted  # type: ignore[method-assign]
    values = {
        "name": "elastic",
        "task": "denoise",
        "network": {"memory_blocks": 1, "recursions": 1, "channels": 4},
        "data": {"folders": ["images"], "patch": 12, "validation_every": 4, "validation_levels": [20]},
        "loss": {"kind": "l2"},
        "optimiser": {"batch": 4, "steps": steps, "rate": 1e-3, "warmup_steps": 2, "kind": "sgd"},
        "checkpoint_minutes": 1e-9,
    }
    fit(validate(values, "elastic"), folder / "data", folder / name, Computing("cpu", "fp32"))


def disturbed(folder: Path, steps: int) -> str:
    """Train with an agent that leaves and returns; returns how many processes drew which steps."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agents = [start(folder, port, steps)]
    wait_for(lambda: reached(folder) > 0, agents)
    agents.append(start(folder, port, steps))
    wait_for(lambda: drew(folder, 2, 20), agents)
    kill(agents.pop())
    left = reached(folder)
    wait_for(lambda: reached(folder) > left + 20, agents)
    agents.append(start(folder, port, steps))
    again = time.time()
    wait_for(lambda: drew(folder, 2, 10, again), agents)
    for agent in agents:
        if agent.wait(300):
            raise RuntimeError(f"an agent ended with {agent.returncode}")
    return check_draws(folder, steps)


def start(folder: Path, port: int, steps: int) -> "subprocess.Popen[bytes]":
    """Start an agent."""
    meet = ["--nnodes=1:2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    meet += [
        "--rdzv-id=elastic",
        "--local-addr=127.0.0.1",
        f"--rdzv-conf={_FAST}",
        "--max-restarts=5",
        "--monitor-interval=0.2",
    ]
    command = [sys.executable, "-m", "torch.distributed.run", *meet, "-m", "scripts.benchmarks.elastic"]
    with (folder / "agents.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--member", str(folder), "--steps", str(steps)],
            env=_ENVIRONMENT,
            stderr=log,
            stdout=log,
            start_new_session=True,
        )


def wait_for(condition: object, agents: list["subprocess.Popen[bytes]"], seconds: float = 240) -> None:
    """Wait until a condition holds, as long as the agents run; end them if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline or any(agent.poll() is not None for agent in agents):
            ended = [agent.poll() for agent in agents]
            for agent in agents:
                kill(agent)
            raise RuntimeError(f"it did not come to that; agents ended with {ended}")
        time.sleep(0.05)


def kill(agent: "subprocess.Popen[bytes]") -> None:
    """End an agent and its processes, which are in sessions of their own, as a lost machine would."""
    parents = {int(path.name): path / "status" for path in Path("/proc").glob("[0-9]*")}
    for process, status in [*parents.items(), (agent.pid, None)]:
        with suppress(OSError):
            if status is None or f"PPid:\t{agent.pid}\n" in status.read_text():
                os.kill(process, signal.SIGKILL)
    agent.wait()


def notes_of(folder: Path) -> list[dict[str, float]]:
    """All draws that were noted, in order."""
    lines = [line for path in (folder / "group-draws").glob("*.jsonl") for line in path.read_text().split("\n")[:-1]]
    return sorted(map(json.loads, lines), key=lambda note: note["time"])


def reached(folder: Path) -> int:
    """The step of the last checkpoint."""
    found = checkpoint.latest(folder / "group")
    return int(found.stem.rpartition("-")[2]) if found else 0


def drew(folder: Path, size: int, count: int, since: float = 0.0) -> bool:
    """Whether groups of a size have drawn so many times since a moment."""
    return sum(note["WORLD_SIZE"] == size and note["time"] > since for note in notes_of(folder)) >= count


def check_draws(folder: Path, steps: int) -> str:
    """Raise SystemExit unless each step was drawn as a whole by the last group that came to it."""
    groups: list[tuple[int, list[int]]] = []
    last: dict[int, set[int]] = {}
    size_of: dict[int, int] = {}
    for note in notes_of(folder):
        step, rank, size = (int(note[key]) for key in ("step", "RANK", "WORLD_SIZE"))
        if size_of.get(step) != size or rank in last[step]:  # begun anew from a checkpoint
            last[step], size_of[step] = set(), size
        last[step].add(rank)
        if not groups or groups[-1][0] != size:
            groups.append((size, []))
        groups[-1][1].append(step)
    if sorted(last) != list(range(steps)) or any(len(last[step]) != size_of[step] for step in last):
        raise SystemExit("steps are missing, or were drawn in part")
    return ", ".join(f"{size} ({min(steps)} to {max(steps)})" for size, steps in groups)


def furthest(folder: Path) -> float:
    """The largest difference between the weights of the two runs."""
    found = [checkpoint.latest(folder / name) for name in ("group", "alone")]
    one, other = (checkpoint.load(path)["network"] for path in found if path)
    return max((a.double() - b.double()).abs().max().item() for a, b in zip(one.values(), other.values(), strict=True))


def make_images(folder: Path) -> None:
    """Four smooth pictures."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(4):
        small = Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8))
        small.resize((72, 72), Image.Resampling.BICUBIC).save(folder / f"{index}.png")


if __name__ == "__main__":
    main()
