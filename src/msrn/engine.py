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

Networks with three channels see RGB. Gray pictures have one plane and stay gray. Alpha never enters the
network: it is enlarged bicubically for super-resolution and otherwise returned as it came.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msrn import weights as weights_module
from msrn.color import rgb_to_ycbcr, ycbcr_to_rgb
from msrn.degrade import enlarged_size, resize
from msrn.errors import MSRNError, UsageError
from msrn.fuse import fuse
from msrn.machine import free_memory, has_bf16
from msrn.network import MSRNConfig
from msrn.picture import Picture, check_pixels
from msrn.tiling import plan

Planes = NDArray[np.float32]
Precision = Literal["auto", "fp32", "bf16"]

_TILES = (64, 96, 128, 160, 192, 256, 384, 512, 768, 1024)
"""Sides that the automatic choice considers."""
_MEMORY_SHARE = 0.25
"""Share of the free memory one pass of the network may take."""
_CACHED_BYTES = 6 << 20
"""A feature map of this size still comes from the processor's caches; measured on an AVX2 processor."""
_CACHE_GAIN = 2.2
"""How much slower each pixel is beyond that, measured likewise (docs/log.md)."""


class Restorer:
    """Restores pictures with one weights file, on one device.

    Args:
        weights: catalogue name, task (``sr``, ``denoise``, ``jpeg``: its default weights), file, or loaded.
        device: ``auto`` (cuda, then mps, then cpu) or a torch device.
        precision: ``fp32``, ``bf16``, or ``auto`` (bf16 on cuda, fp32 elsewhere).
        tile: side of the tiles in pixels of the result; 0 chooses from the memory at hand. The result does
            not depend on it.
        tta: average the results of the eight flips and rotations (self-ensemble), at eight times the cost.

    Raises:
        WeightsError: the weights cannot be loaded.
        UsageError: a device, precision or tile that cannot be.
    """

    def __init__(
        self,
        weights: str | Path | weights_module.Weights,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        tile: int = 0,
        tta: bool = False,
    ) -> None:
        if tile < 0:
            raise UsageError(f"the tile size must be 0 (automatic) or positive, got {tile}")
        self.device = choose_device(device)
        self.precision = choose_precision(self.device, precision)
        loaded = weights if isinstance(weights, weights_module.Weights) else weights_module.load(weights)
        self.weights = loaded
        self.network = fuse(loaded.network).to(self.device)
        self.tile = tile
        self.tta = tta

    @property
    def config(self) -> MSRNConfig:
        """The network's configuration."""
        return self.weights.card.config

    def __str__(self) -> str:
        """What was chosen, for ``-v``."""
        tile = self.tile or automatic_tile(self.config, 1, self.device)
        precision = str(self.precision).removeprefix("torch.")
        return f"{self.weights.name} on {self.device}, {precision}, tiles of {tile}" + (", 8-fold" if self.tta else "")

    def __call__(
        self,
        picture: Picture,
        *,
        scale: float | None = None,
        size: tuple[int, int] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Picture:
        """Restore one picture.

        Args:
            picture: see the contract in ``picture.py``.
            scale: enlargement, at least 1; only for super-resolution (2 if neither is given).
            size: exact new ``(height, width)`` instead, not smaller than the picture.
            progress: called with the share done, 0 to 1.

        Returns:
            A picture of the same kind, not clipped.

        Raises:
            UsageError: the picture breaks the contract, or scale or size does not fit.
            MSRNError: the network gave values that are not finite.
        """
        check_pixels(picture.pixels)
        report = progress or _silent
        if self.weights.card.task == "sr":
            return self._enlarge(picture, scale, size, report)
        if scale is not None or size is not None:
            raise UsageError(f"scale and size are for super-resolution; these weights are for {self.weights.card.task}")
        return picture.with_pixels(self._in_place_size(picture.pixels, report), picture.alpha)

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
        size: tuple[int, int] | None,
        report: Callable[[float], None],
    ) -> Picture:
        target = enlarged_size((picture.height, picture.width), scale, size)
        how: dict[str, Any] = {"size": target}
        if size is None:
            # MATLAB's kernel positions follow the asked-for scale, not the rounded size.
            how = {"scale": 2.0 if scale is None else scale}
        alpha = None if picture.alpha is None else resize(picture.alpha, **how).clip(0, 1)
        if picture.is_gray or self.config.in_channels == 3:
            enlarged = resize(picture.pixels, **how)
            planes = enlarged[None] if self.config.in_channels == len(enlarged) else _gray_as_color(enlarged)
            restored = self.restore_planes(planes, report)[0]
            return picture.with_pixels(restored[: len(enlarged)], alpha)
        ycbcr = rgb_to_ycbcr(picture.pixels)
        y = self.restore_planes(resize(ycbcr[:1], **how)[None], report)[0]
        chroma = resize(ycbcr[1:], **how)
        return picture.with_pixels(ycbcr_to_rgb(np.concatenate([y, chroma])), alpha)

    def _in_place_size(self, pixels: Planes, report: Callable[[float], None]) -> Planes:
        if self.config.in_channels == 3:
            planes = pixels[None] if len(pixels) == 3 else _gray_as_color(pixels)
            return self.restore_planes(planes, report)[0, : len(pixels)]
        if len(pixels) == 1:
            return self.restore_planes(pixels[None], report)[0]
        ycbcr = rgb_to_ycbcr(pixels, "full")
        if self.weights.card.task != "jpeg":
            return ycbcr_to_rgb(self.restore_planes(ycbcr[:, None], report)[:, 0], "full")
        ycbcr[:1] = self.restore_planes(ycbcr[None, :1], lambda share: report(share / 1.5))[0]
        small = resize(ycbcr[1:], 0.5)
        change = self.restore_planes(small[:, None], lambda share: report((2 + share) / 3))[:, 0] - small
        ycbcr[1:] += resize(change, size=pixels.shape[1:])
        return ycbcr_to_rgb(ycbcr, "full")

    def _tiled(self, planes: Planes, report: Callable[[float], None]) -> Planes:
        # A processor keeps one plane's tile in its caches, but not three; a GPU would rather have more at once.
        height, width = planes.shape[2:]
        together = 1 if self.device.type == "cpu" else len(planes)
        tile = self.tile or automatic_tile(self.config, together, self.device)
        out = np.empty_like(planes)
        while True:
            try:
                parts = [
                    (slice(first, first + together), part)
                    for first in range(0, len(planes), together)
                    for part in plan(height, width, tile, self.config.receptive_radius)
                ]
                for done, (chosen, part) in enumerate(parts, start=1):
                    source, kept = (chosen, slice(None), *part.source.slices), (..., *part.kept.slices)
                    result = self._forward(torch.from_numpy(planes[source]))
                    out[(chosen, slice(None), *part.core.slices)] = result[kept].numpy()
                    report(done / len(parts))
                return out
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error) or tile <= 32:
                    raise
                tile = max(32, tile // 2)

    @torch.inference_mode()
    def _forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32):
            result = self.network(x.to(self.device)).float().cpu()
        if not torch.isfinite(result).all():
            raise MSRNError("the network gave values that are not finite; is the input finite?")
        return result


def choose_device(name: str) -> torch.device:
    """Return the named device, or the best one at hand for ``auto``."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}; try auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} was asked for, but {torch.cuda.device_count()} CUDA devices are there")
    if device.type not in ("cpu", "cuda", "mps") or (device.type == "mps" and not torch.backends.mps.is_available()):
        raise UsageError(f"device {name!r} cannot be used here; try auto or cpu")
    return device


def choose_precision(device: torch.device, name: str) -> torch.dtype:
    """Return the computing type for inference; evaluation asks for fp32 itself."""
    if name == "auto":
        name = "bf16" if device.type == "cuda" else "fp32"
    return _dtype(name)


def choose_training_precision(device: torch.device, name: str) -> torch.dtype:
    """Return the computing type for training: bf16 where the machine multiplies it faster than fp32."""
    if name == "auto":
        name = "bf16" if device.type == "cuda" or (device.type == "cpu" and has_bf16()) else "fp32"
    return _dtype(name)


def automatic_tile(config: MSRNConfig, count: int, device: torch.device) -> int:
    """Return the tile side that should be fastest for ``count`` planes at once, among those that fit the memory.

    Small tiles stay in a processor's caches, large ones waste less on halos; which wins depends on the halo.
    """
    on_cpu = device.type == "cpu"
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    feature_map = 4 * config.channels * count
    # Long-term memories, one short-term memory, the gate's sum, and what a unit has in flight.
    maps = config.memory_blocks + 6

    def cost(tile: int) -> float:
        area = (tile + 2 * config.receptive_radius) ** 2
        slow = _CACHE_GAIN if on_cpu and area * feature_map > _CACHED_BYTES else 1.0
        return slow * area / tile**2

    fitting = [
        tile
        for tile in _TILES
        if (tile + 2 * config.receptive_radius) ** 2 * feature_map * maps <= free * _MEMORY_SHARE
    ]
    return min(fitting, key=cost, default=_TILES[0])


def _silent(share: float) -> None:
    """Report to nobody."""


def _gray_as_color(gray: Planes) -> Planes:
    return np.repeat(gray, 3, axis=0)[None]


def _dtype(name: str) -> torch.dtype:
    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if name not in types:
        raise UsageError(f"unknown precision {name!r}; known: auto, {', '.join(types)}")
    return types[name]


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
