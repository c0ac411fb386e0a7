"""Space to depth and back, in numpy, around a backend: squares of s×s pixels as one pixel of s² as many channels."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from msrn.restoration.backends import Backend, Pipelined, Planes


def through(backend: Backend, planes: Planes, unshuffle: int) -> Planes:
    """Return a backend's residual of an image, whatever its network's ``unshuffle``, s.

    Args:
        backend: computes the residual of float32 ``(N, C·s², ⌈H/s⌉, ⌈W/s⌉)``.
        planes: float32 ``(N, C, H, W)``; a last row or column that is no whole square is filled up with copies of it,
            as in training.
        unshuffle: s.

    Returns:
        float32 ``(N, C, H, W)``.
    """
    (residual,) = in_turn(backend, [planes], unshuffle)
    return residual


def in_turn(backend: Backend, batches: Iterable[Planes], unshuffle: int) -> Iterator[Planes]:
    """Return the residual of one batch after the other, see :func:`through`; some backends do that faster than alone.

    Batches may be asked for before the residuals of those before them are there.
    """
    sizes: deque[tuple[int, int]] = deque()

    def deep() -> Iterator[Planes]:
        for planes in batches:
            sizes.append(planes.shape[2:])
            yield planes if unshuffle == 1 else to_depth(planes, unshuffle)

    for residual in backend.in_turn(deep()) if isinstance(backend, Pipelined) else map(backend, deep()):
        height, width = sizes.popleft()
        yield residual if unshuffle == 1 else from_depth(residual, unshuffle)[..., :height, :width]


def to_depth(planes: Planes, unshuffle: int) -> Planes:
    """Turn ``(N, C, H, W)`` into ``(N, C·s², ⌈H/s⌉, ⌈W/s⌉)``, in the order of ``torch.nn.PixelUnshuffle``."""
    s, (count, channels, height, width) = unshuffle, planes.shape
    whole = np.pad(planes, ((0, 0), (0, 0), (0, -height % s), (0, -width % s)), mode="edge")
    cells = whole.reshape(count, channels, whole.shape[2] // s, s, whole.shape[3] // s, s)
    return cells.transpose(0, 1, 3, 5, 2, 4).reshape(count, channels * s * s, cells.shape[2], cells.shape[4])


def from_depth(planes: Planes, unshuffle: int) -> Planes:
    """Turn ``(N, C·s², H, W)`` into ``(N, C, H·s, W·s)``."""
    s, (count, deep, height, width) = unshuffle, planes.shape
    cells = planes.reshape(count, deep // s**2, s, s, height, width).transpose(0, 1, 4, 2, 5, 3)
    return cells.reshape(count, deep // s**2, height * s, width * s)
