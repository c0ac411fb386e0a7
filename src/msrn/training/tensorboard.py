"""Curves and pictures for TensorBoard (extra ``train``)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError

_CURVES = {
    "loss": "training/loss",
    "gradient_norm": "training/gradient norm",
    "rate": "training/rate",
    "skipped": "training/skipped steps",
    "patches_per_second": "speed/patches per second",
}


class Board:
    """Writes one run's events.

    Args:
        folder: receives the event files; ``tensorboard --logdir RUN`` shows them.
        step: where the run goes on; later events of an earlier attempt are hidden.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise UsageError("--tensorboard needs `pip install 'msrn-pytorch[train]'`") from error
        self._writer: Any = SummaryWriter(str(folder), purge_step=step or None)

    def scalars(self, step: int, values: Mapping[str, Any], ensemble: Sequence[float]) -> None:
        """Add one point to every curve: a progress report's values, held-out scores, and the weights w_m."""
        for key, name in _CURVES.items():
            if key in values:
                self._writer.add_scalar(name, values[key], step)
        for level, score in values.get("scores", {}).items():
            self._writer.add_scalar(f"held-out PSNR/{level}", score, step)
        for number, weight in enumerate(ensemble, start=1):
            self._writer.add_scalar(f"ensemble/w_{number}", weight, step)
        self._writer.flush()

    def pictures(self, step: int, name: str, *planes: NDArray[np.float32]) -> None:
        """Add images side by side (degraded, restored, clean), ``(C, H, W)`` in [0, 1] each."""
        self._writer.add_image(f"degraded, restored, clean/{name}", np.concatenate(planes, axis=2).clip(0, 1), step)

    def close(self) -> None:
        """Finish the event file."""
        self._writer.close()
