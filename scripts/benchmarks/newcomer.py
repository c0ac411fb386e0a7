"""How long someone with a folder of photographs waits for the first checkpoint that helps.

    python scripts/benchmarks/newcomer.py FOLDER [--recipe denoise_fast] [--limit-minutes 15]

Runs the commands of docs/training.md: the forecast, then training from nothing until a checkpoint's held-out score is
above the degraded images', then publishing it. Prints seconds, counted from the first command.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Run, watch the log, stop, publish, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipe", type=Path, default=Path("denoise_fast"))
    parser.add_argument("--limit-minutes", type=float, default=15)
    options = parser.parse_args()

    folder = options.folder.resolve()
    msrn = [sys.executable, "-m", "msrn.cli"]
    train = ["train", str(options.recipe), "--data-root", str(folder.parent)]
    train += ["--set", f'data.folders=["{folder.name}"]', "--quiet"]
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "mine"
        begun = time.monotonic()
        print(
            subprocess.run([*msrn, *train, "-o", run, "--dry-run"], check=True, capture_output=True, text=True).stdout
        )
        print(f"{time.monotonic() - begun:6.1f} s  forecast")
        process = subprocess.Popen([*msrn, *train, "-o", run], stdout=subprocess.DEVNULL)
        better = None
        while better is None and process.poll() is None and time.monotonic() - begun < 60 * options.limit_minutes:
            time.sleep(0.5)
            better = _better(run)
        process.send_signal(signal.SIGINT)
        process.wait()
        if better is None:
            sys.exit("no checkpoint was better than the degraded images in time")
        first, now = better
        print(f"{time.monotonic() - begun:6.1f} s  first better checkpoint, step {now['step']}")
        for level, score in now["scores"].items():
            print(f"          held-out {level}: {first['scores'][level]:.2f} -> {score:.2f} dB")
        publish = [*msrn, "publish", run, "-o", place, "--data-name", "mine"]
        subprocess.run(publish, check=True, capture_output=True)
        print(f"{time.monotonic() - begun:6.1f} s  weights published")


def _better(run: Path) -> tuple[dict, dict] | None:
    """The log's line before training and the first whose every score is above it, once its checkpoint lies there."""
    log = run / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    scored = [line for line in lines if "scores" in line]
    for now in scored[1:]:
        if all(now["scores"][level] > score for level, score in scored[0]["scores"].items()):
            return (scored[0], now) if (run / "best.ckpt").exists() else None
    return None


if __name__ == "__main__":
    main()
