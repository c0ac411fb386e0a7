"""The engine: one network, planes to planes of the same size, in tiles that give exactly the whole-image result."""

import copy
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from msrn.errors import MSRNError, UsageError
from msrn.network.config import MSRNConfig
from msrn.network.graph import Graph, fuse
from msrn.network.weights import Weights
from msrn.restoration.autotune import Timing, Tuned
from msrn.restoration.backends import Backend, Choice, Device, Planes, candidates, create, kept, native
from msrn.restoration.device import named
from msrn.restoration.memory import Needs, memory
from msrn.restoration.pixel_shuffle import in_turn, through
from msrn.restoration.schedule import Piece, automatic_tile, pictures_at_once, seconds_for_plane, share_out
from msrn.system.atomic import reason
from msrn.system.lazy import once
from msrn.types import BackendName, Precision

logger = logging.getLogger(__name__)
Report = Callable[[float], None]
"""Called with the share done, 0 to 1."""
MakeBackend = Callable[[Choice, Graph, dict[str, float], Device, int], Backend]
"""See :func:`~msrn.restoration.backends.create`."""
_SMALLEST_TILE = 32
_THIN = 8
"""Below this side, a picture is computed amid repetitions of its edge: so much border would change its brightness."""


@dataclass(frozen=True)
class Options:
    """How to compute.

    Raises:
        UsageError: a tile or strength that cannot be.
    """

    device: str = "auto"
    """``auto`` (cuda, then mps, then cpu) or a torch device."""
    backend: BackendName = "auto"
    """What computes; ``auto`` is what was found fastest on this machine (see ``autotune.py``)."""
    precision: Precision = "auto"
    """Computing type; ``auto`` is the fastest that costs the weights at most 0.02 dB, as their card says."""
    tile: int = 0
    """Side of the tiles in pixels of the result; 0 chooses from the memory at hand. Results do not depend on it."""
    tta: bool = False
    """Average the results of the eight flips and rotations (self-ensemble), at eight times the cost."""
    strength: float = 1.0
    """How much of what the network changes is applied, 0 to 1."""

    def __post_init__(self) -> None:
        if self.tile < 0:
            raise UsageError(f"the tile size must be 0 (automatic) or positive, got {self.tile}")
        if not 0 <= self.strength <= 1:
            raise UsageError(f"the strength must be between 0 and 1, got {self.strength:g}")


class Engine:
    """One network on one device.

    Args:
        weights: the network's.
        options: how to compute.
        begun_with: backend and precision by the weights' SHA-256, of an earlier run that is continued.
        make: makes what computes.

    Raises:
        UsageError: a device, backend or precision that cannot be.
    """

    def __init__(
        self,
        weights: Weights,
        options: Options | None = None,
        begun_with: Mapping[str, str] | None = None,
        make: MakeBackend = create,
    ) -> None:
        options = options or Options()
        self.weights, self.options, self.device = weights, options, named(options.device)
        backend, precision, card = options.backend, options.precision, weights.card
        able = candidates(self.device, backend, precision, native(self.device, card.harmless))
        if "int8" in precision and not card.ranges:
            raise UsageError(
                f"{weights.name} has no 8-bit ranges: publish it with --data-root or use another precision"
            )
        begun = (begun_with or {}).get(weights.sha256)
        same = [choice for choice in able if str(choice) == begun]
        if begun and not same and backend == precision == "auto":
            logger.warning("this batch was begun with %s, which is not available here; using another", begun)
        # Other backends than the first have never been faster on a processor, and take seconds to load: they are for
        # where it fails.
        self._candidates = same or [choice for choice in able if choice.backend == able[0].backend]
        self._others = [choice for choice in able if choice not in self._candidates]
        self._create, self._backends = make, dict[int, Backend]()
        self._making = threading.Lock()

    @property
    def config(self) -> MSRNConfig:
        """The network's configuration."""
        return self.weights.card.config

    @once
    def graph(self) -> Graph:
        """The inference graph."""
        return fuse(self.config, self.weights.arrays)

    @once
    def timing(self) -> Timing:
        """What is known of the speed of all that could compute here."""
        return Timing(self.weights, self.device, self._candidates)

    @once
    def tuned(self) -> Tuned:
        """Backend and precision, settled once: from earlier runs' timing, or by the processor's instructions."""
        return self.timing.choose()

    @once
    def at_once(self) -> int:
        """How many small pictures (``schedule.SMALL``) are best computed side by side, each by its own thread."""
        return pictures_at_once(self.config, self.tuned.choice)

    @once
    def _exact(self) -> Backend:
        backend = self.tuned.choice.backend
        return self._make(Choice("eager" if backend == "compiled" else backend, "fp32"))

    def __str__(self) -> str:
        """What was chosen and why, for ``-v``."""
        how = self.options
        tiles = f"tiles of {how.tile}" if how.tile else "automatic tiles"
        more = (", 8-fold" if how.tta else "") + (f", strength {how.strength:g}" if how.strength < 1 else "")
        return f"{self.weights.name} on {self.device}, {self.tuned.choice}, {tiles}{more} ({self.tuned.why})"

    @property
    def identity(self) -> dict[str, str]:
        """What decides the results, besides the pictures."""
        own = {"weights": self.weights.sha256, "tta": str(self.options.tta), "computing": str(self.tuned.choice)}
        return own | ({"strength": str(self.options.strength)} if self.options.strength < 1 else {})

    def with_options(self, *, tile: int | None = None, strength: float | None = None) -> "Engine":
        """The same network on the same backends, in other tiles or at another strength; None leaves one as it is."""
        other, how = copy.copy(self), self.options
        other.options = replace(
            how, tile=how.tile if tile is None else tile, strength=how.strength if strength is None else strength
        )
        return other

    def forecast(self, channels: int, height: int, width: int, passes: float = 1.0) -> Needs:
        """Forecast the seconds and the memory of restoring a picture, from a timing; it is made now if there is none.

        Args:
            channels: of the picture.
            height: of the result.
            width: likewise.
            passes: how many planes of that size go through the network.
        """
        timed = self.timing.learn_sides(self.tuned.choice, self._backend(1))
        tile = self.options.tile or automatic_tile(self.config, height, width, self.device, timed)
        each = seconds_for_plane(self.config, height, width, tile, timed)
        peak, held = memory(self.config, channels, height, width, tile, timed.choice)
        return Needs(passes * (8 if self.options.tta else 1) * each, peak, {self.weights.key: held})

    def restore(self, planes: Planes, report: Report | None = None, at_once: int = 1) -> Planes:
        """Restore planes: ``(N, in_channels, H, W)`` float32 in [0, 1], already enlarged, to the same shape.

        Args:
            planes: what the network sees.
            report: called with the share done.
            at_once: how many threads are restoring at the same time, each with its share of the cores.

        Returns:
            The restored planes, not clipped.

        Raises:
            UsageError: another shape or type.
            MSRNError: the network gave values that are not finite.
            MemoryError: there is too little memory even for the smallest tile.
        """
        if planes.ndim != 4 or planes.shape[1] != self.config.in_channels or planes.dtype != np.float32:
            raise UsageError(
                f"expected float32 (N, {self.config.in_channels}, H, W), got {planes.dtype} {planes.shape}"
            )
        report, method = report or silent, self._averaged if self.options.tta else self._tiled
        if min(planes.shape[2:]) >= _THIN:
            return method(planes, report, at_once)
        margin = self.config.halo
        wide = np.pad(planes, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="edge")
        return np.ascontiguousarray(method(wide, report, at_once)[:, :, margin:-margin, margin:-margin])

    def learn(self, patience: float) -> None:
        """Time what else could have computed, for later runs; does nothing if this engine has not computed.

        Args:
            patience: seconds that this may take. Call it when nothing else computes, and when results are safe.
        """
        if self._backends and len(self._candidates) > 1 and not self.timing.complete:
            self.timing.learn(self._backend_of, patience)

    def _averaged(self, planes: Planes, report: Report, at_once: int) -> Planes:
        """The mean over the eight flips and rotations."""
        total = np.zeros_like(planes)
        for k in range(8):
            turned = np.rot90(planes, k % 4, axes=(2, 3))
            turned = np.ascontiguousarray(turned[..., ::-1] if k >= 4 else turned)
            result = self._tiled(turned, lambda share, k=k: report((k + share) / 8), at_once)
            result = result[..., ::-1] if k >= 4 else result
            total += np.rot90(result, -(k % 4), axes=(2, 3))
        return total / np.float32(8)

    def _tiled(self, planes: Planes, report: Report, at_once: int) -> Planes:
        tile, out = self.options.tile, np.empty_like(planes)
        count, (height, width) = len(planes), planes.shape[2:]
        while True:
            tile, batches = share_out(self.config, count, height, width, tile, self.device, self.tuned)
            sources = (_cut(planes, batch) for batch in batches)
            try:
                results = zip(batches, self._restored(sources, at_once), strict=True)
                for done, (batch, restored) in enumerate(results, start=1):
                    for (number, part), result in zip(batch, restored, strict=True):
                        out[(number, slice(None), *part.core.slices)] = result[(slice(None), *part.kept.slices)]
                    report(done / len(batches))
                return out
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if tile <= _SMALLEST_TILE:
                    raise MemoryError(str(error)) from error
                tile = max(_SMALLEST_TILE, tile // 2)
                logger.warning("out of memory: going on with tiles of %d", tile)

    def _restored(self, sources: Iterable[Planes], at_once: int) -> Iterator[Planes]:
        """Run the network over one batch after the other; what a fast precision spoils is repeated in fp32."""
        seen: deque[Planes] = deque()

        def noted() -> Iterator[Planes]:
            for x in sources:
                seen.append(x)
                yield x

        for residual in in_turn(self._backend(at_once), noted(), self.config.unshuffle):
            x = seen.popleft()
            result = x * np.float32(self.graph.skip) + residual
            if self.tuned.choice.precision != "fp32":
                self._mend(result, residual, x)
            if not np.isfinite(result).all():
                raise MSRNError("the network gave values that are not finite; is the input finite?")
            strength = np.float32(self.options.strength)
            yield result if strength == 1 else x + strength * (result - x)

    def _mend(self, result: Planes, residual: Planes, x: Planes) -> None:
        """Repeat in fp32 what does not look like a restored image, in place."""
        for tile in (slice(k, k + 1) for k in range(len(x))):
            spoilt = _spoilt(result[tile], x[tile]) or ("" if residual[tile].any() else "the picture as it came")
            if spoilt:
                exact = through(self._exact, x[tile], self.config.unshuffle)
                if not np.array_equal(exact, residual[tile]):
                    logger.warning("%s gave %s: this tile is repeated in fp32", self.tuned.choice, spoilt)
                result[tile] = x[tile] * np.float32(self.graph.skip) + exact

    def _backend(self, at_once: int) -> Backend:
        with self._making:
            while at_once not in self._backends:
                try:
                    self._backends[at_once] = self._make(self.tuned.choice, at_once)
                except (UsageError, MemoryError):
                    raise
                except Exception as error:  # whatever an optional package may throw
                    self._go_on_without(self.tuned.choice, error)
        return self._backends[at_once]

    def _go_on_without(self, broken: Choice, error: Exception) -> None:
        """Choose another candidate in place of one that cannot be used here.

        Raises:
            UsageError: there is none.
        """
        left = [choice for choice in (*self._candidates, *self._others) if choice not in {*self.timing.broken, broken}]
        if not left:
            raise UsageError(f"{broken} cannot be used here ({reason(error)}); try another --backend or --precision")
        logger.warning("%s cannot be used here (%s): %s computes instead", broken, reason(error), left[0])
        self.timing.broken.add(broken)
        vars(self)["tuned"] = Tuned(left[0], why=f"{broken} cannot be used")

    def _make(self, choice: Choice, at_once: int = 1) -> Backend:
        return kept(
            choice,
            self.weights.sha256 and self.weights.content,
            lambda: self._create(choice, self.graph, self.weights.card.ranges, self.device, at_once),
            at_once,
        )

    def _backend_of(self, choice: Choice) -> Backend:
        return self._backend(1) if choice == self.tuned.choice else self._make(choice)


def _cut(planes: Planes, batch: list[Piece]) -> Planes:
    """The sources of tiles of one size, ``(tiles, C, h, w)``."""
    first, part = batch[0]
    if len(batch) == 1:
        return planes[(slice(first, first + 1), slice(None), *part.source.slices)]
    return np.stack([planes[(number, slice(None), *part.source.slices)] for number, part in batch])


def silent(share: float) -> None:
    """Report to nobody."""


def _spoilt(result: Planes, source: Planes) -> str:
    """Name what is wrong with a result, if anything: a restored image is about as bright as it came."""
    if not np.isfinite(result).all():
        return "values that are not finite"
    bright = float(source.mean())
    return "a black image" if bright > 0.02 and float(result.mean()) < bright / 4 else ""


def _is_out_of_memory(error: Exception) -> bool:
    # Each library has its own words: torch "can't allocate memory", the C++ runtime "bad_alloc", others "allocate".
    return isinstance(error, MemoryError) or re.search("alloc", str(error)) is not None
