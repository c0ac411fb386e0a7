"""Two networks that restore a picture in colours together: luminance by one, chroma by the other.

Of the larger networks there are some for luminance alone. What such a one restores better, it restores here; chroma
comes from a network that sees R, G and B. In JFIF's YCbCr each of R, G and B is Y plus something of Cb and Cr, so Y is
replaced by adding its change to all three.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from msrn.images.color import luminance
from msrn.network.weights import Weights
from msrn.restoration.autotune import Tuned
from msrn.restoration.backends import Planes
from msrn.restoration.engine import Engine, Options, Watch, silent
from msrn.restoration.memory import Needs


class JoinedConfig(NamedTuple):
    """What others must know of the two networks, named as in :class:`~msrn.network.config.MSRNConfig`."""

    in_channels: int
    memory_blocks: int
    halo: int
    unshuffle: int
    multiply_adds_per_pixel: int


class JoinedEngine:
    """What restores R, G and B as an :class:`~msrn.restoration.engine.Engine` does, by two of them.

    Args:
        luminance: its network sees Y (full range).
        chroma: its network sees R, G and B.

    Example:
        >>> JoinedEngine(Engine(load("msrn-m6r1s2-jpeg")), Engine(load("jpeg-color"))).restore(planes)
    """

    def __init__(self, luminance: Engine, chroma: Engine) -> None:
        self.luminance, self.chroma = luminance, chroma
        self._watch: Watch | None = None
        self._spreads = list[Planes]()
        both = luminance.config, chroma.config
        self.config = JoinedConfig(
            in_channels=3,
            memory_blocks=luminance.config.memory_blocks,
            halo=max(config.halo for config in both),
            unshuffle=max(config.unshuffle for config in both),
            multiply_adds_per_pixel=sum(config.multiply_adds_per_pixel for config in both),
        )

    @property
    def weights(self) -> Weights:
        """The weights for luminance."""
        return self.luminance.weights

    @property
    def options(self) -> Options:
        """How both compute."""
        return self.luminance.options

    @property
    def tuned(self) -> Tuned:
        """What computes the luminance."""
        return self.luminance.tuned

    def __str__(self) -> str:
        """What was chosen and why, for ``-v``."""
        return f"luminance by {self.luminance}, chroma by {self.chroma}"

    def watched(self, watch: Watch) -> "JoinedEngine":
        """The same two, which tell what became of R, G and B; how much images differ is told of luminance alone.

        See ``Engine.watched``.
        """
        other = copy.copy(self)
        other._watch, other._spreads = watch, []
        other.luminance = self.luminance.watched(lambda before, after, spread: other._spreads.append(spread))
        return other

    def forecast(self, channels: int, height: int, width: int, passes: float = 1.0) -> Needs:
        """Forecast seconds and memory; see ``Engine.forecast``."""
        y = self.luminance.forecast(channels, height, width, passes)
        color = self.chroma.forecast(channels, height, width, passes)
        peak = max(y.beside(color.kept), color.beside(y.kept))
        return Needs(y.seconds + color.seconds, peak, y.kept | color.kept)

    def restore(self, planes: Planes, report: Callable[[float], None] | None = None, at_once: int = 1) -> Planes:
        """Restore R, G and B, float32 ``(N, 3, H, W)``; see ``Engine.restore``."""
        report, costs = report or silent, self.config.multiply_adds_per_pixel
        first = self.chroma.config.multiply_adds_per_pixel / costs
        made = self.chroma.restore(planes, lambda share: report(first * share), at_once)
        for picture, out in zip(planes, made, strict=True):
            given = luminance(picture, "full")[None]
            change = self.luminance.restore(given, lambda share: report(first + (1 - first) * share), at_once)[0]
            change -= luminance(out, "full")
            out += change
        if self._watch is not None:
            self._watch(planes, made, np.concatenate(self._spreads))
            self._spreads.clear()
        return made


AnyEngine = Engine | JoinedEngine
"""What restores the planes of a picture: by one network, or by two."""
