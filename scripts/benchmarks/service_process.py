"""A service for the benchmarks: started, looked at, and asked for what the command writes."""

import json
import os
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "service.json"
"""Figures that docs/service.md shows; scripts/documentation/update_service.py writes them there."""


def start(cache: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    """A service of its own, which computes in fp32; its process and port."""
    command = [sys.executable, "-m", "msrn.cli", "serve", "--port", "0", "--cache", str(cache), "--precision", "fp32"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    return process, int(line.split("/, its API")[0].rpartition(":")[2])


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for each in found:
        children = Path(f"/proc/{each}/task/{each}/children")
        found += [int(child) for child in children.read_text().split()] if children.exists() else []
    return found


def memory(pid: int) -> float:
    """MB that a process and its descendants hold, shared pages counted once (PSS)."""
    total = 0
    for each in family(pid):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total * 1024 / 1e6


def spent(pid: int) -> float:
    """Seconds that all cores have spent on a process and its descendants."""
    ticks = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def photograph(name: str, width: int, height: int, quality: int = 60) -> bytes:
    """A JPEG file of a size, from a photograph of the demonstration."""
    with Image.open(ROOT / "demo" / "photographs" / f"{name}.png") as image:
        buffer = BytesIO()
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        resized.save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()


def by_command(data: bytes) -> bytes:
    """What the command writes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.jpg").write_bytes(data)
        words = ["restore", "in.jpg", "-o", "out.png", "-q", "--precision", "fp32"]
        subprocess.run([sys.executable, "-m", "msrn.cli", *words], cwd=folder, check=True)
        return (Path(folder) / "out.png").read_bytes()


def keep(name: str, figures: dict[str, object]) -> None:
    """Store figures for the documentation."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(kept | {name: figures}, indent=1) + "\n", encoding="utf-8")
