"""The engine: one :class:`Restorer` takes a picture and returns a picture.

**The colour rule**, for networks that see luminance (``in_channels = 1``):

=========  ==================================================================================================
sr         Y (studio range, as the literature) is enlarged bicubically and restored by the network; Cb and Cr
           are enlarged bicubically.
denoise    Y, Cb and Cr (full range) are each restored by the network, which judges each plane's noise for
           itself: noise in RGB is noise in all three.
jpeg       Y (full range, the plane a JPEG stores) is restored by the network; so are Cb and Cr at half resolution,
           where the usual 4:2:0 has its blocks, and only what changed there is added to them (docs/colour.md).
=========  ==================================================================================================

Networks with three channels see RGB; where weights are chosen by task, and some of them are for colours,
these restore pictures with colours. Gray pictures have one plane and stay gray. Alpha never enters the network: it is
enlarged bicubically for super-resolution and otherwise returned as it came. Colours under full transparency do not
bleed into visible ones (``transparency.py``).
"""

import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from msrn.errors import MSRNError, UsageError
from msrn.images.color import luminance, plane_of_ycbcr, rgb_to_ycbcr, ycbcr_becomes_rgb
from msrn.images.picture import Picture, check_picture
from msrn.images.resize import enlarged_size, resize
from msrn.images.transparency import hide_invisible, restore_invisible
from msrn.network import weights as weights_module
from msrn.network.config import MSRNConfig
from msrn.restoration.autotune import Tuned, tune
from msrn.restoration.backends import Backend, Choice, Planes, candidates, create, kept, native
from msrn.restoration.device import named
from msrn.restoration.memory import Needs, memory
from msrn.restoration.pixel_shuffle import in_turn, through
from msrn.restoration.schedule import Piece, automatic_tile, batches_of, forecast, pictures_at_once
from msrn.system.lazy import once
from msrn.types import BackendName, Precision, Size, Task

if TYPE_CHECKING:  # an image that a kept model restores does not wait for torch
    from msrn.network.graph import Fused

logger = logging.getLogger(__name__)

_EXACT = Choice("eager", "fp32")
_this_thread = threading.local()
_SMALLEST_TILE = 32


@contextmanager
def apart() -> Generator[None]:
    """Within it, this thread restores beside others that do likewise, instead of having all cores for each picture.

    Cores that share a small picture wait for each other and for whoever else needs one of them; see
    :attr:`Restorer.at_once`. The results are the same.
    """
    before = getattr(_this_thread, "apart", False)
    _this_thread.apart = True
    try:
        yield
    finally:
        _this_thread.apart = before


class Restorer:
    """Restores pictures with one weights file, on one device.

    Args:
        weights: catalogue name, task (``sr``, ``denoise``, ``jpeg``: its default weights, other ones for pictures with
            colours, see ``for_color``), file, or loaded.
        device: ``auto`` (cuda, then mps, then cpu) or a torch device.
        backend: what computes: ``eager``, ``compiled``, ``openvino``, ``onnx`` (see ``backends``), or ``auto``: what a
            short timing finds fastest on this machine (see ``tuning``), at first use.
        precision: ``fp32``, ``bf16``, ``int8``, ``int8-bf16`` (both), or ``auto``: the fastest that costs these weights
            at most 0.02 dB, as their card says.
        tile: side of the tiles in pixels of the result; 0 chooses from the memory at hand and the timing. The result
            does not depend on it.
        tta: average the results of the eight flips and rotations (self-ensemble), at eight times the cost.
        strength: how much of what the network changes is applied, 0 to 1; what is enlarged with 0 is bicubic.
        for_color: catalogue name or file of other weights that restore pictures with colours.
        begun_with: for ``auto``, what a run that is continued here began with, by SHA-256 of the weights (see
            ``choices``): no stopwatch decides anew what the rest of its pixels are.

    Raises:
        WeightsError: the weights cannot be loaded.
        UsageError: a device, backend, precision, tile or strength that cannot be.
    """

    def __init__(
        self,
        weights: str | Path | weights_module.Weights,
        *,
        device: str = "auto",
        backend: BackendName = "auto",
        precision: Precision = "auto",
        tile: int = 0,
        tta: bool = False,
        strength: float = 1.0,
        for_color: str | Path | None = None,
        begun_with: Mapping[str, str] | None = None,
    ) -> None:
        if tile < 0:
            raise UsageError(f"the tile size must be 0 (automatic) or positive, got {tile}")
        if not 0 <= strength <= 1:
            raise UsageError(f"the strength must be between 0 and 1, got {strength:g}")
        self.device = named(device)
        self.weights = loaded = weights if isinstance(weights, weights_module.Weights) else weights_module.load(weights)
        self._candidates = candidates(self.device, backend, precision, native(self.device, loaded.card.harmless))
        if "int8" in precision and not loaded.card.ranges:
            raise UsageError(f"{loaded.name} has no 8-bit ranges: publish it with --data-root or use another precision")
        self.tile, self.tta, self.strength = tile, tta, strength
        if for_color is None and str(weights).lower() in get_args(Task) and weights_module.find(f"{weights}-color"):
            for_color = f"{weights}-color"
        how = {"backend": backend, "precision": precision, "tile": tile, "tta": tta, "strength": strength}
        other = partial(Restorer, for_color, device=device, begun_with=begun_with, **how) if for_color else lambda: self
        self._colored: Callable[[], Restorer] = other
        self._backends: dict[int, Backend] = {}
        self._making = threading.Lock()
        begun = (begun_with or {}).get(loaded.sha256)
        self._timed = len(self._candidates) > 1  # so that tiles are as fast as they may be
        if begun and self._timed:
            same = [choice for choice in self._candidates if str(choice) == begun]
            if not same and backend == precision == "auto":
                logger.warning("this was begun with %s, which is not to be had here any more", begun)
            self._candidates = same or self._candidates

    @property
    def config(self) -> MSRNConfig:
        """The network's configuration."""
        return self.weights.card.config

    @once
    def fused(self) -> "Fused":
        """The inference graph, on the CPU."""
        from msrn.network.graph import fuse

        return fuse(self.weights.network)

    @once
    def tuned(self) -> Tuned:
        """Backend and precision; timed here and now if this machine does not know these weights yet."""
        return tune(self.weights, lambda: self.fused, self.device, self._candidates, always=self._timed)

    @once
    def at_once(self) -> int:
        """How many threads may restore small pictures (``planning.SMALL``) ``apart`` and gain by it."""
        return pictures_at_once(self.config, self.tuned)

    @property
    def _backend(self) -> Backend:
        number = self.at_once if getattr(_this_thread, "apart", False) else 1
        with self._making:
            if number not in self._backends:
                choice = self.tuned.choice
                self._backends[number] = kept(
                    choice,
                    self.weights.identity,
                    lambda: create(choice, self.fused, self.weights.card.ranges, self.device, number),
                    number,
                )
        return self._backends[number]

    @once
    def _skip(self) -> float:
        return self.weights.skip

    @once
    def _exact(self) -> Backend:
        return create(_EXACT, self.fused, {}, self.device)

    @once
    def for_color(self) -> "Restorer":
        """What restores pictures with colours: this one, or another that sees R, G and B together."""
        return self._colored()

    def __repr__(self) -> str:
        return f"Restorer({self.weights.name!r}, device={str(self.device)!r})"

    def __str__(self) -> str:
        """What was chosen and why, for ``-v``."""
        tiles = f"tiles of {self.tile}" if self.tile else "automatic tiles"
        more = (", 8-fold" if self.tta else "") + (f", strength {self.strength:g}" if self.strength < 1 else "")
        return f"{self.weights.name} on {self.device}, {self.tuned.choice}, {tiles}{more} ({self.tuned.why})"

    @property
    def identity(self) -> dict[str, str]:
        """What decides the results, besides the pictures."""
        own = {"weights": self.weights.sha256, "tta": str(self.tta), "computing": str(self.tuned.choice)}
        own |= {"strength": str(self.strength)} if self.strength < 1 else {}
        other = {} if self.for_color is self else self.for_color.identity
        return own | {f"color.{key}": value for key, value in other.items()}

    @property
    def choices(self) -> dict[str, str]:
        """Backend and precision by SHA-256 of the weights, for ``begun_with``."""
        return {each.weights.sha256: str(each.tuned.choice) for each in (self, self.for_color)}

    @property
    def enlarges(self) -> bool:
        """Whether the result may have another size."""
        return self.weights.card.task == "sr"

    def result_size(self, picture: Picture, scale: float | None = None, size: Size | None = None) -> tuple[int, int]:
        """``(height, width)`` of the result; see :meth:`__call__`."""
        before = picture.height, picture.width
        return enlarged_size(before, scale, size) if self.enlarges else before

    note = ""
    """Why this one was chosen; see ``automatic.Chain``."""

    def settled(self, picture: Picture, scale: float | None = None, size: Size | None = None) -> "Restorer":
        """What restores this picture, or a whole video that begins with it."""
        return self if picture.is_gray else self.for_color

    def forecast(self, picture: Picture, scale: float | None = None, size: Size | None = None) -> Needs:
        """Forecast the seconds and the memory that restoring will take, from the timing of this machine."""
        if (chosen := self.settled(picture)) is not self:
            return chosen.forecast(picture, scale, size)
        channels, (height, width) = len(picture.pixels), self.result_size(picture, scale, size)
        timed = tune(self.weights, lambda: self.fused, self.device, self._candidates, always=True)
        passes = 1.0
        if self.config.in_channels == 1 and channels == 3:
            passes = {"sr": 1.0, "denoise": 3.0, "jpeg": 1.5}[self.weights.card.task]
        tile = self.tile or automatic_tile(self.config, height, width, self.device, self.tuned)
        seconds = passes * (8 if self.tta else 1) * forecast(self.config, height, width, tile, timed)
        peak, kept = memory(self.config, channels, height, width, tile, timed.choice)
        return Needs(seconds, peak, {self.weights.sha256 or self.weights.name: kept})

    def __call__(
        self,
        picture: Picture,
        *,
        scale: float | None = None,
        size: Size | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Picture:
        """Restore one picture.

        Args:
            picture: see the contract in ``picture.py``.
            scale: enlargement, at least 1; only for super-resolution (2 if neither is given).
            size: exact new ``(height, width)`` instead, not smaller than the picture; None for one keeps proportions.
            progress: called with the share done, 0 to 1.

        Returns:
            A picture of the same kind, not clipped.

        Raises:
            UsageError: the picture breaks the contract, or scale or size does not fit.
            MSRNError: the network gave values that are not finite.
            MemoryError: there is too little memory even for the smallest tile.
        """
        check_picture(picture)
        if (chosen := self.settled(picture)) is not self:
            return chosen(picture, scale=scale, size=size, progress=progress)
        report = progress or _silent
        shown = hide_invisible(picture)
        if self.enlarges:
            return self._enlarge(shown, scale, size, report)
        if scale is not None or size is not None:
            raise UsageError(f"scale and size are for super-resolution; these weights are for {self.weights.card.task}")
        restored = shown.with_pixels(self._in_place_size(shown.pixels, report), shown.alpha)
        return restore_invisible(restored, picture)

    def restore_planes(self, planes: Planes, progress: Callable[[float], None] | None = None) -> Planes:
        """Run the network alone: ``(N, in_channels, H, W)`` float32, already enlarged, to the same shape."""
        if planes.ndim != 4 or planes.shape[1] != self.config.in_channels or planes.dtype != np.float32:
            raise UsageError(
                f"expected float32 (N, {self.config.in_channels}, H, W), got {planes.dtype} {planes.shape}"
            )
        report = progress or _silent
        if not self.tta:
            return self._tiled(planes, report)
        total = np.zeros_like(planes)
        for k in range(8):
            turned = np.rot90(planes, k % 4, axes=(2, 3))
            turned = np.ascontiguousarray(turned[..., ::-1] if k >= 4 else turned)
            result = self._tiled(turned, lambda share, k=k: report((k + share) / 8))
            result = result[..., ::-1] if k >= 4 else result
            total += np.rot90(result, -(k % 4), axes=(2, 3))
        return total / np.float32(8)

    def _enlarge(
        self,
        picture: Picture,
        scale: float | None,
        size: Size | None,
        report: Callable[[float], None],
    ) -> Picture:
        target = self.result_size(picture, scale, size)
        how: dict[str, Any] = {"size": target}
        if size is None:
            # MATLAB's kernel positions follow the asked-for scale, not the rounded size.
            how = {"scale": 2.0 if scale is None else scale}
        alpha = None if picture.alpha is None else resize(picture.alpha, **how).clip(0, 1)
        if picture.is_gray or self.config.in_channels == 3:
            return picture.with_pixels(self._together(resize(picture.pixels, **how), report), alpha)
        # Of everything as large as the result there is the result itself and one plane, never more.
        pixels = np.zeros((3, *target), dtype=np.float32)
        pixels[:1] = self.restore_planes(resize(luminance(picture.pixels), **how)[None], report)[0]
        for k in (1, 2):
            resize(plane_of_ycbcr(picture.pixels, k), **how, onto=pixels[k : k + 1])
        ycbcr_becomes_rgb(pixels, "studio")
        return picture.with_pixels(pixels, alpha)

    def _together(self, planes: Planes, report: Callable[[float], None]) -> Planes:
        """The network alone on all planes of a picture; a gray one is three of a kind to a network for colours."""
        if len(planes) == self.config.in_channels:
            return self.restore_planes(planes[None], report)[0]
        return self.restore_planes(np.repeat(planes, 3, axis=0)[None], report)[0].mean(axis=0, keepdims=True)

    def _in_place_size(self, pixels: Planes, report: Callable[[float], None]) -> Planes:
        if self.config.in_channels == 3 or len(pixels) == 1:
            return self._together(pixels, report)
        ycbcr = rgb_to_ycbcr(pixels, "full")
        if self.weights.card.task != "jpeg":
            for k in range(3):
                ycbcr[k] = self.restore_planes(ycbcr[None, k : k + 1], lambda share, k=k: report((k + share) / 3))[0, 0]
            ycbcr_becomes_rgb(ycbcr, "full")
            return ycbcr
        ycbcr[:1] = self.restore_planes(ycbcr[None, :1], lambda share: report(share / 1.5))[0]
        for k in (1, 2):
            small = resize(ycbcr[k], 0.5)
            change = self.restore_planes(small[None, None], lambda share, k=k: report((3 + k + share) / 6))[0, 0]
            change -= small
            resize(change, size=pixels.shape[1:], onto=ycbcr[k])
        ycbcr_becomes_rgb(ycbcr, "full")
        return ycbcr

    def _tiled(self, planes: Planes, report: Callable[[float], None]) -> Planes:
        height, width = planes.shape[2:]
        tile = self.tile or automatic_tile(self.config, height, width, self.device, self.tuned)
        out = np.empty_like(planes)
        while True:
            try:
                batches = batches_of(self.config, len(planes), height, width, tile, self.device, self.tuned.choice)
                sources = (_cut(planes, batch) for batch in batches)
                for done, (batch, results) in enumerate(zip(batches, self._restored(sources), strict=True), start=1):
                    for (number, part), result in zip(batch, results, strict=True):
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

    def _restored(self, sources: Iterable[Planes]) -> Iterator[Planes]:
        """Run the network over one batch after the other; what a fast backend spoils is repeated in fp32."""
        seen: deque[Planes] = deque()

        def noted() -> Iterator[Planes]:
            for x in sources:
                seen.append(x)
                yield x

        for residual in in_turn(self._backend, noted(), self.config.unshuffle):
            x = seen.popleft()
            base = x * np.float32(self._skip)
            result = base + residual
            for tile in (slice(k, k + 1) for k in range(len(x))):
                spoilt = _spoilt(result[tile], x[tile]) or ("" if residual[tile].any() else "the picture as it came")
                if spoilt and self.tuned.choice != _EXACT:
                    exact = through(self._exact, x[tile], self.config.unshuffle)
                    if not np.array_equal(exact, residual[tile]):
                        logger.warning("%s gave %s: this tile is repeated in fp32", self.tuned.choice, spoilt)
                    result[tile] = base[tile] + exact
            if not np.isfinite(result).all():
                raise MSRNError("the network gave values that are not finite; is the input finite?")
            yield result if self.strength == 1 else x + np.float32(self.strength) * (result - x)


def _cut(planes: Planes, batch: list[Piece]) -> Planes:
    """The sources of tiles of one size, ``(tiles, C, h, w)``."""
    first, part = batch[0]
    if len(batch) == 1:
        return planes[(slice(first, first + 1), slice(None), *part.source.slices)]
    return np.stack([planes[(number, slice(None), *part.source.slices)] for number, part in batch])


def _silent(share: float) -> None: ...


def _spoilt(result: Planes, source: Planes) -> str:
    """Name what is wrong with a result, if anything: a restored image is about as bright as it came."""
    if not np.isfinite(result).all():
        return "values that are not finite"
    bright = float(source.mean())
    return "a black image" if bright > 0.02 and float(result.mean()) < bright / 4 else ""


def _is_out_of_memory(error: Exception) -> bool:
    # Each library has its own words: torch "can't allocate memory", the C++ runtime "bad_alloc", others "allocate".
    return isinstance(error, MemoryError) or re.search("alloc", str(error)) is not None
