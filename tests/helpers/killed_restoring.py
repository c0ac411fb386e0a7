"""Kill batches and videos again and again, as a program of its own: it forks before anything has computed.

``python -m tests.helpers.killed_restoring FOLDER KILLS SEED`` restores an album and a video once undisturbed, then
again and again, each killed a few times at random moments before it may end, ``KILLS`` times in all, and prints what
came of them as JSON.
"""

import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from msrn import images
from msrn.batch import claim, plan_outputs, restore_files
from msrn.images.picture import Picture
from msrn.images.video import restore_video
from msrn.network.config import MSRNConfig
from msrn.network.weights import load_file
from msrn.restoration.restorer import Restorer

PICTURES, FRAMES = 24, 40


def make_inputs(folder):
    """An album and a video of noise, and weights whose results differ from it."""
    import av  # here and below, as neither may start threads before the fork
    from tests.helpers.networks import random_weights

    from msrn.network.weights import save

    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        images.write(Picture(rng.random((3, 40, 50), np.float32)), folder / "album" / f"{number % 3}" / f"{number}.png")
    with av.open(str(folder / "clip.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (32, 48, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    save(random_weights("denoise", MSRNConfig(1, 1, 4)), folder, "weights")


def live(folder, kind, out):
    """One life: restore what is not there yet."""
    (weights,) = folder.glob("weights-*.safetensors")
    restorer = Restorer(load_file(weights), device="cpu", backend="openvino", precision="fp32")
    if kind == "video":
        out.mkdir(exist_ok=True)
        restore_video(folder / "clip.mp4", out / "clip.mp4", restorer, "key", segment_frames=5)
        return
    plan = plan_outputs([folder / "album"], out, recursive=True)
    with claim(plan) as claimed:
        failed = [outcome for outcome in restore_files(plan.jobs, claimed, restorer) if outcome.error]
    assert not failed, failed[0].error


def one_life(folder, kind, out, kill_after=math.inf):
    """Fork, and kill after some seconds, if it has not ended; returns how it did."""
    child = os.fork()
    if not child:
        try:
            live(folder, kind, out)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
        finally:
            os._exit(4)
    deadline = time.perf_counter() + kill_after
    while time.perf_counter() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def tree(folder):
    """Content of every file by name, but for the manifest, in which lines of before may stand."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "msrn-manifest.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def main(folder, kills, seed):
    moments = random.Random(seed)
    if not os.fork():
        make_inputs(folder)
        os._exit(0)
    os.wait()
    said = {}
    for kind, wanted in (("batch", kills - kills // 2), ("video", kills // 2)):
        started = time.perf_counter()
        assert one_life(folder, kind, folder / "whole" / kind) == 0
        whole = time.perf_counter() - started
        expected, killed, turn, wrong, failed = tree(folder / "whole" / kind), 0, 0, 0, 0
        while killed < wanted:
            out = folder / kind / str(turn)
            out.parent.mkdir(exist_ok=True)
            for _ in range(min(3, wanted - killed)):
                end = one_life(folder, kind, out, moments.uniform(0, whole))
                killed += end == -signal.SIGKILL
                failed += end not in (0, -signal.SIGKILL)
            failed += one_life(folder, kind, out) != 0
            wrong += tree(out) != expected  # whatever is left over makes a difference, too
            turn += 1
        said[kind] = {"killed": killed, "outputs": turn, "failed": failed, "not as undisturbed": wrong}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
