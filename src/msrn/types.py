"""The words that all rooms share: tasks, computing types, and the limits of what is read."""

from dataclasses import dataclass
from typing import Literal

from msrn.errors import UsageError

Task = Literal["sr", "denoise", "jpeg", "photo", "photo-sr"]
"""What there is to restore; ``photo`` is noise and JPEG artifacts, either or both, as photographs have them, and
``photo-sr`` enlarges photographs that have them."""

ENLARGING: tuple[Task, ...] = "sr", "photo-sr"
"""The tasks whose networks see an image that has been enlarged already."""

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
"""How finely a JPEG keeps chroma: as luminance, half as wide, or half as wide and high."""

Size = tuple[int | None, int | None]
"""A ``(height, width)`` that is wanted; one that is None follows from the other by the picture's proportions."""

Range = Literal["studio", "full"]
"""Range of luminance: 16 to 235 of 255, as video and the literature have it, or all of it, as JPEG has it."""

BackendName = Literal["auto", "eager", "compiled", "openvino", "onnx"]
"""What computes the network; ``auto`` is what is fastest here."""

Precision = Literal["auto", "fp32", "bf16", "int8", "int8-bf16"]
"""Computing types; ``auto`` is the fastest that costs the weights at most 0.02 dB."""

ExportFormat = Literal["onnx", "image", "openvino", "torch", "darktable", "web", "spandrel"]
"""What weights are exported as; see ``msrn.restoration.export``."""

MAX_PIXELS = 500_000_000
"""Larger images are refused as decompression bombs unless asked for."""

MAX_BYTES = 4 << 30
"""Larger files are not read unless asked for."""

MAX_TRAINING_PIXELS = 100_000_000
"""Larger images are left out of training shards unless asked for."""

MAX_FRAMES = 1_000_000
"""Longer videos are refused unless asked for."""

MAX_SECONDS = 120.0
"""Files that take longer to decode are given up unless asked for."""


@dataclass(frozen=True)
class Limits:
    """What a single file of a stranger may cost.

    Raises:
        UsageError: a limit that nothing can keep.
    """

    max_pixels: int = MAX_PIXELS
    """Refuse larger images."""
    max_bytes: int = MAX_BYTES
    """Refuse larger image files."""
    max_frames: int = MAX_FRAMES
    """Refuse longer videos."""
    max_seconds: float = MAX_SECONDS
    """Give a file up that takes longer to decode."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UsageError(f"--{name.replace('_', '-')} must be above 0, got {value}")
