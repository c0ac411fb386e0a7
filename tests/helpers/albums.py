"""Folders of small pictures, and what a batch makes of them."""

from pathlib import Path

import numpy as np

from msrn import images
from msrn.batch import claim, plan_outputs, restore_files
from msrn.images.picture import Picture

RNG = np.random.default_rng(0)
OURS = {"msrn-manifest.jsonl", "failures.jsonl"}
"""What a batch writes besides its outputs."""


def album(folder: Path, *names: str) -> Path:
    """Write small pictures of these names, each of other noise, and return the folder."""
    for name in names:
        samples = RNG.integers(0, 256, (3, 8, 9)).astype(np.float32) / np.float32(255)
        images.write(Picture(samples), folder / name, overwrite=True)
    return folder


def run(inputs, output, restorer, settings=None, recursive=True, **options):
    """Plan a batch, take possession of its output folder, and restore it; returns the outcomes."""
    plan = plan_outputs(inputs if isinstance(inputs, list) else [inputs], output, recursive=recursive)
    with claim(plan) as claimed:
        return restore_files(plan.jobs, claimed, restorer, settings, **options)


def tree(folder: Path) -> dict[str, bytes]:
    """Content of every file by name, this program's own books left out."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name not in OURS]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def targets(plan, folder):
    """Names of a plan's outputs, relative to a folder."""
    return [job.target.relative_to(folder).as_posix() for job in plan.jobs]
