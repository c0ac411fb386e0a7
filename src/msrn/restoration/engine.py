"""The engine: one network, planes to planes of the same size, in tiles that give exactly the whole-image result."""

import copy
import logging
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
from msrn.restoration.backends import Backend, Choice, Device, Planes, candidates, create, native
from msrn.restoration.device import named
from msrn.restoration.memory import Needs, picture_bytes
from msrn.restoration.pixel_shuffle import in_turn, through
from msrn.restoration.tile_plan import Piece, TilePlanner
from msrn.restoration.tiles import SMALLEST_TILE
from msrn.system.atomic import reason
from msrn.system.lazy import once
from msrn.types import BackendName, Precision

logger = logging.getLogger(__name__)
Report = Callable[[float], None]
"""Called with the share done, 0 to 1."""
MakeBackend = Callable[[Choice, Graph, dict[str, float], Device, int, str], Backend]
"""See :func:`~msrn.restoration.backends.create`."""
Watch = Callable[[Planes, Planes, Planes], None]
"""Called with planes ``(N, C, H, W)`` as they came and as restored, and with the mean square over the channels of what
the network's last image but one differs from the ensemble of all, ``(N, H, W)``."""
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
    """One network on one device; raises :class:`UsageError` for a device, backend or precision that cannot be.

    ``begun_with`` has backend and precision by the weights' SHA-256, of an earlier run that is continued.
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
            raise UsageError(f"{weights.name} has no 8-bit ranges: publish with --data-root, or use another precision")
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
        self._watch: Watch | None = None

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

    @property
    def planner(self) -> TilePlanner:
        """What cuts planes into tiles."""
        return TilePlanner(self.config, self.device, self.tuned)

    @once
    def at_once(self) -> int:
        """Number of small pictures (``tile_plan.SMALL``) to restore in parallel, one thread each."""
        return self.planner.pictures_at_once()

    @once
    def _timed(self) -> Tuned:
        backend = self._backend(1)  # which may change the choice
        return self.timing.learn_sides(self.tuned.choice, backend)

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

    def watched(self, watch: Watch) -> "Engine":
        """The same network, which tells how much its images differ whenever it has restored planes.

        The results are the same. The backend is another one, made once: its graph has two outputs.

        Raises:
            UsageError: it predicts one image only.
        """
        if not self.config.multi_supervised or self.config.memory_blocks < 2:
            raise UsageError(f"{self.weights.name} predicts one image only, which differs from no other")
        other = copy.copy(self._telling)
        other.options, other._watch = self.options, watch
        return other

    @once
    def _telling(self) -> "Engine":
        chosen, other = self.tuned, copy.copy(self)
        other._backends, other._making = {}, threading.Lock()
        vars(other).pop("_exact", None)
        vars(other).update(tuned=chosen, graph=replace(self.graph, tells_earlier=True))
        return other

    def forecast(self, channels: int, height: int, width: int, passes: float = 1.0) -> Needs:
        """Forecast what restoring takes, for a result of a size, from a timing; it is made now if there is none.

        ``passes`` is how many planes of that size go through the network.
        """
        planner = TilePlanner(self.config, self.device, self._timed)
        tile = self.options.tile or planner.side(height, width)
        seconds = passes * (8 if self.options.tta else 1) * planner.seconds(height, width, tile)
        peak, held = picture_bytes(self.config, channels, height, width, tile, self.tuned.choice)
        return Needs(seconds, peak, {self.weights.key: held})

    def restore(self, planes: Planes, report: Report | None = None, at_once: int = 1) -> Planes:
        """Restore planes: float32 ``(N, in_channels, H, W)``, already enlarged, to the same shape, not clipped.

        ``report``, ``at_once`` and errors are those of :meth:`Restorer.__call__`; planes of another shape or type are a
        :class:`UsageError`.
        """
        if planes.ndim != 4 or planes.shape[1] != self.config.in_channels or planes.dtype != np.float32:
            expected = f"float32 (N, {self.config.in_channels}, H, W)"
            raise UsageError(f"expected {expected}, got {planes.dtype} {planes.shape}")
        report, method = report or silent, self._averaged if self.options.tta else self._tiled
        if min(planes.shape[2:]) >= _THIN:
            restored = method(planes, report, at_once)
        else:
            margin = self.config.halo
            wide = np.pad(planes, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="edge")
            restored = np.ascontiguousarray(method(wide, report, at_once)[:, :, margin:-margin, margin:-margin])
        if self._watch is None:
            return restored
        result, spread = restored[:, :-1], restored[:, -1]
        self._watch(planes, result, spread)
        return result

    def learn(self, patience: float) -> None:
        """Time what else could have computed, for later runs, within some seconds, if this engine has computed.

        Call it when nothing else computes, and when results are safe.
        """
        if self._backends and len(self._candidates) > 1:
            chosen = self.tuned.choice
            self.timing.learn(lambda choice: self._backend(1) if choice == chosen else self._make(choice), patience)

    def _averaged(self, planes: Planes, report: Report, at_once: int) -> Planes:
        """The mean over the eight flips and rotations."""
        total = self._empty(planes)
        total[:] = 0
        for k in range(8):
            turned = np.rot90(planes, k % 4, axes=(2, 3))
            turned = np.ascontiguousarray(turned[..., ::-1] if k >= 4 else turned)
            result = self._tiled(turned, lambda share, k=k: report((k + share) / 8), at_once)
            result = result[..., ::-1] if k >= 4 else result
            total += np.rot90(result, -(k % 4), axes=(2, 3))
        return total / np.float32(8)

    def _tiled(self, planes: Planes, report: Report, at_once: int) -> Planes:
        count, (height, width), out = len(planes), planes.shape[2:], self._empty(planes)
        tile = self.options.tile or self.planner.side(height, width)
        while True:
            batches = self.planner.batches(count, height, width, tile)
            sources = (_cut(planes, batch) for batch in batches)
            try:
                results = zip(batches, self._restored(sources, at_once), strict=True)
                for done, (batch, restored) in enumerate(results, start=1):
                    for (number, part), result in zip(batch, restored, strict=True):
                        out[(number, slice(None), *part.core.slices)] = result[(slice(None), *part.kept.slices)]
                    report(done / len(batches))
                return out
            except (MemoryError, RuntimeError) as error:
                # Torch has "can't allocate memory", the C++ runtime "bad_alloc", others "allocate".
                if isinstance(error, RuntimeError) and "alloc" not in str(error):
                    raise
                if tile <= SMALLEST_TILE:
                    raise MemoryError("more memory than there is, even for the smallest tile") from error
                tile = max(SMALLEST_TILE, tile // 2)
                logger.warning("out of memory: going on with tiles of %d", tile)

    def _empty(self, planes: Planes) -> Planes:
        """Room for what is made of planes: as many, and one for the spread where that is told."""
        count, channels, height, width = planes.shape
        return np.empty((count, channels + self.graph.tells_earlier, height, width), np.float32)

    def _restored(self, sources: Iterable[Planes], at_once: int) -> Iterator[Planes]:
        """Run the network over one batch after the other; what a fast precision spoils is repeated in fp32."""
        seen: deque[Planes] = deque()

        def noted() -> Iterator[Planes]:
            for x in sources:
                seen.append(x)
                yield x

        for residual in in_turn(self._backend(at_once), noted(), self.config.unshuffle):
            x = seen.popleft()
            x = np.concatenate([x, x], axis=1) if self.graph.tells_earlier else x
            result = x * np.float32(self.graph.skip) + residual
            if self.tuned.choice.precision != "fp32":
                self._mend(result, residual, x)
            if not np.isfinite(result).all():
                raise MSRNError("the network gave values that are not finite; is the input finite?")
            strength = np.float32(self.options.strength)
            result = result if strength == 1 else x + strength * (result - x)
            yield _with_spread(result) if self.graph.tells_earlier else result

    def _mend(self, result: Planes, residual: Planes, x: Planes) -> None:
        """Repeat in fp32 what does not look like a restored image, in place."""
        for tile in (slice(k, k + 1) for k in range(len(x))):
            if spoilt := _spoilt(result[tile], residual[tile], x[tile]):
                exact = through(self._exact, x[tile, : self.config.in_channels], self.config.unshuffle)
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
        """Choose another candidate in place of one that cannot be used here, or raise if there is none."""
        self.timing.broken.add(broken)
        left = [choice for choice in (*self._candidates, *self._others) if choice not in self.timing.broken]
        if not left:
            raise UsageError(f"{broken} cannot be used here ({reason(error)}); try another --backend or --precision")
        logger.warning("%s cannot be used here (%s): %s computes instead", broken, reason(error), left[0])
        vars(self)["tuned"] = Tuned(left[0], why=f"{broken} cannot be used")

    def _make(self, choice: Choice, at_once: int = 1) -> Backend:
        content = self.weights.sha256 and self.weights.content
        content += " and an earlier image" if content and self.graph.tells_earlier else ""
        return self._create(choice, self.graph, self.weights.card.ranges, self.device, at_once, content)


def _cut(planes: Planes, batch: list[Piece]) -> Planes:
    """The sources of tiles of one size, ``(tiles, C, h, w)``."""
    first, part = batch[0]
    if len(batch) == 1:
        return planes[(slice(first, first + 1), slice(None), *part.source.slices)]
    return np.stack([planes[(number, slice(None), *part.source.slices)] for number, part in batch])


def _with_spread(images: Planes) -> Planes:
    """The ensemble of each of N results and its spread, ``(N, C + 1, h, w)``, of ensembles and earlier images."""
    result, earlier = np.split(images, 2, axis=1)
    return np.concatenate([result, ((earlier - result) ** 2).mean(axis=1, keepdims=True)], axis=1)


def silent(share: float) -> None:
    """Report to nobody."""


def _spoilt(result: Planes, residual: Planes, source: Planes) -> str:
    """Name what is wrong with a result, if anything: a restored image is about as bright as it came."""
    if not np.isfinite(result).all():
        return "values that are not finite"
    bright = float(source.mean())
    if bright > 0.02 and float(result.mean()) < bright / 4:
        return "a black image"
    return "" if residual.any() else "the picture as it came"
