"""Which planes of a picture a network restores: the colour rule.

Networks that see luminance (``in_channels = 1``):

=========  ==================================================================================================
sr         Y (studio range, as the literature) is enlarged bicubically and restored by the network; Cb and Cr
           are enlarged bicubically, and follow what the network added to Y (``guidance.py``).
denoise    Y, Cb and Cr (full range) are each restored by the network, which judges each plane's noise for
           itself: noise in RGB is noise in all three.
jpeg       Y (full range, the plane a JPEG stores) is restored by the network; so are Cb and Cr at half resolution,
           where the usual 4:2:0 has its blocks, and only what changed there is added to them (docs/colour.md).
=========  ==================================================================================================

Networks with three channels see RGB, and so do two that are joined (``joined.py``). Gray pictures have one plane and
stay gray.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.images.color import luminance, rgb_to_ycbcr, ycbcr_becomes_rgb
from msrn.images.resize import resize
from msrn.restoration.backends import Planes
from msrn.restoration.engine import Report
from msrn.restoration.guidance import with_chroma
from msrn.restoration.joined import AnyEngine

Pixels = NDArray[np.float32]
"""``(1, H, W)`` or ``(3, H, W)``, see ``picture.py``."""


def passes(engine: AnyEngine, channels: int) -> float:
    """Return how many planes of a picture's full size go through the network."""
    if _sees_all(engine, channels):
        return 1.0
    return {"sr": 1.0, "photo-sr": 1.0, "denoise": 3.0, "photo": 3.0, "jpeg": 1.5}[engine.weights.card.task]


def restored(engine: AnyEngine, pixels: Pixels, report: Report, at_once: int) -> Pixels:
    """Return pixels of the same size, restored: noise or JPEG artifacts removed."""
    if _sees_all(engine, len(pixels)):
        return _together(engine, pixels, report, at_once)
    ycbcr = rgb_to_ycbcr(pixels, "full")
    clean_up = _three_planes if engine.weights.card.task != "jpeg" else _halved_chroma
    clean_up(engine, ycbcr, report, at_once)
    ycbcr_becomes_rgb(ycbcr, "full")
    return ycbcr


def enlarged(engine: AnyEngine, pixels: Pixels, how: dict[str, Any], report: Report, at_once: int) -> Pixels:
    """Return pixels enlarged and restored; ``how`` has the ``scale`` or ``size`` for :func:`resize`."""
    if _sees_all(engine, len(pixels)):
        return _together(engine, resize(pixels, **how), report, at_once)
    return with_chroma(_together(engine, resize(luminance(pixels), **how), report, at_once), pixels, how)


def _sees_all(engine: AnyEngine, channels: int) -> bool:
    """Whether all planes of a picture go through the network together."""
    return engine.config.in_channels == 3 or channels == 1


def _together(engine: AnyEngine, planes: Planes, report: Report, at_once: int) -> Planes:
    """The network alone on all planes of a picture; a gray one is three of a kind to a network for colours."""
    if len(planes) == engine.config.in_channels:
        return engine.restore(planes[None], report, at_once)[0]
    return engine.restore(np.repeat(planes, 3, axis=0)[None], report, at_once)[0].mean(axis=0, keepdims=True)


def _three_planes(engine: AnyEngine, ycbcr: Planes, report: Report, at_once: int) -> None:
    for k in range(3):
        part = ycbcr[None, k : k + 1]
        ycbcr[k] = engine.restore(part, lambda share, k=k: report((k + share) / 3), at_once)[0, 0]


def _halved_chroma(engine: AnyEngine, ycbcr: Planes, report: Report, at_once: int) -> None:
    ycbcr[:1] = engine.restore(ycbcr[None, :1], lambda share: report(share / 1.5), at_once)[0]
    for k in (1, 2):
        small = resize(ycbcr[k], 0.5)
        change = engine.restore(small[None, None], lambda share, k=k: report((3 + k + share) / 6), at_once)[0, 0]
        change -= small
        resize(change, size=ycbcr.shape[1:], onto=ycbcr[k])
