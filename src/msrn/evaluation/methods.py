"""What evaluation can score: weights, a peer's output files, an ONNX file, any Python function.

A method takes a degraded image, float ``(C, H, W)`` in [0, 1], and the image's name, and returns the restored one, of
the same shape. C is 1 (luminance or gray) or, where colour is scored, 3.
"""

import hashlib
import importlib
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from msrn import images
from msrn.errors import ImageError, UsageError, WeightsError
from msrn.images.color import luminance_uint8
from msrn.images.folder import list_images
from msrn.images.picture import FloatArray, Picture, to_uint8
from msrn.network.weights import load
from msrn.restoration.restorer import Restorer
from msrn.restoration.tiles import plan
from msrn.system.extras import missing
from msrn.types import Range


class Method(Protocol):
    """Anything that restores one image, given with its file's name."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Restore ``(C, H, W)``."""
        ...


class WeightsMethod:
    """A :class:`Restorer`: the network alone on luminance, the engine's colour rule on colour."""

    def __init__(self, restorer: Restorer) -> None:
        self.restorer = restorer
        ensemble = ", 8-fold" if restorer.engine.options.tta else ""
        self.name = f"{restorer.weights.name}{ensemble} (sha256 {restorer.weights.sha256})"

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Restore ``(C, H, W)``."""
        if len(degraded) == 3:
            scale = 1 if self.restorer.enlarges else None  # it is enlarged already
            return self.restorer(Picture(degraded.astype(np.float32)), scale=scale).pixels.astype(np.float64)
        planes = np.repeat(degraded[None].astype(np.float32), self.restorer.config.in_channels, axis=1)
        return self.restorer.restore_planes(planes)[0].mean(axis=0, keepdims=True).astype(np.float64)


class FolderMethod:
    """Restored images that something else wrote, cropped as the protocol crops, or as large as the original.

    The file of an image has its name, in any known format, or begins with its name and ``_`` (``baby_x3.png``).

    Args:
        folder: holds them.
        color_range: of the luminance that colour images are scored on.
        clean: folder of the originals: their names tell ``a`` from ``a_b``, and which of them are gray, though a peer
            wrote RGB.
    """

    def __init__(self, folder: Path, color_range: Range, clean: Path | None = None) -> None:
        if not folder.is_dir():
            raise UsageError(f"no such folder of restored images: {folder}")
        self.name, self.folder, self.clean = f"images in {folder.name}", folder, clean
        self.color_range: Range = color_range
        self.paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in images.SUFFIXES]
        self.stems = [path.stem for path in list_images([clean])] if clean else []

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Restore ``(C, H, W)``."""
        pixels = images.read(self._path(Path(image).stem)).pixels.astype(np.float64)
        if len(pixels) == 3 and len(degraded) == 1:
            if self.clean is not None and images.read(self.clean / image).is_gray:
                return pixels.mean(axis=0, keepdims=True)
            return luminance_uint8(to_uint8(pixels), self.color_range).astype(np.float64) / 255
        return pixels

    def _path(self, stem: str) -> Path:
        found = [path for path in self.paths if path.stem == stem]
        found = found or [path for path in self.paths if self._is_of(path.stem, stem)]
        if not found:
            raise ImageError(f"{self.folder} holds no restored image for it")
        if len(found) > 1:
            raise ImageError(f"{self.folder} holds several: {', '.join(path.name for path in found)}; keep one")
        return found[0]

    def _is_of(self, restored: str, stem: str) -> bool:
        """Whether a name begins with an original's, and with no longer one: ``a_b_x2`` is of ``a_b``, not of ``a``."""
        begun = [name for name in (stem, *self.stems) if restored.startswith(f"{name}_") or restored == name]
        return stem == max(begun, key=len, default="")


class CallableMethod:
    """A Python function, ``module:function``, of float32 ``(H, W)`` or, for colour, ``(H, W, 3)``."""

    def __init__(self, specification: str) -> None:
        module, _, name = specification.partition(":")
        try:
            with _importable_from(Path.cwd()):
                self.function: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UsageError(f"no function {specification!r} (module:function): {error}") from error
        self.name = specification

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Restore ``(C, H, W)``."""
        given = degraded[0] if len(degraded) == 1 else np.moveaxis(degraded, 0, -1)
        try:
            result = np.asarray(self.function(given.astype(np.float32)), np.float64)
        except Exception as error:  # whatever it raises concerns this image only
            raise ImageError(f"{self.name} failed: {type(error).__name__}: {error}") from error
        return np.moveaxis(result, -1, 0) if result.ndim == 3 else result[None]


class OnnxMethod:
    """An ONNX network with one input and one output, float32 ``(1, C, H, W)``."""

    def __init__(self, path: Path) -> None:
        try:
            from msrn.restoration.backends.onnx import session
        except ImportError as error:
            raise missing("an ONNX file", "onnxruntime and onnx", "onnx") from error
        try:
            self.session = session(str(path))
        except Exception as error:  # the runtime has exceptions of its own
            raise WeightsError(f"{path} is not an ONNX file that can be run: {error}") from error
        self.input = self.session.get_inputs()[0].name
        self.name = f"{path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()})"

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Restore ``(C, H, W)``."""
        try:
            result = self.session.run(None, {self.input: degraded[None].astype(np.float32)})[0]
        except Exception as error:  # the runtime has exceptions of its own
            reason = str(error).strip().partition("\n")[0]
            raise ImageError(f"{self.name} cannot take {_size(degraded)}: {reason}") from error
        return np.asarray(result, dtype=np.float64)[0]


class TiledMethod:
    """Another method, shown one tile at a time, with less context than it may want."""

    def __init__(self, method: Method, tile: int, halo: int) -> None:
        self.method, self.tile = method, tile
        # Squares of pixels are the same in each tile as in the whole image.
        self.multiple = method.restorer.config.unshuffle if isinstance(method, WeightsMethod) else 1
        self.halo = -(-halo // self.multiple) * self.multiple
        self.name = method.name

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Restore ``(C, H, W)``."""
        out = np.empty_like(degraded)
        for part in plan(degraded.shape[1], degraded.shape[2], self.tile, self.halo, self.multiple):
            source = degraded[(..., *part.source.slices)]
            restored = self.method(source, image)
            check_output(restored, source, self.method)
            out[(..., *part.core.slices)] = restored[(..., *part.kept.slices)]
        return out


def choose(weights: Sequence[str], function: str | None, **options: Any) -> list[Method]:
    """Return the function or the weights that the command line names; ``options`` go to :class:`Restorer`.

    Each of the weights is scored by itself, on colour as well: none stand in for others.
    """
    if function is not None:
        return [CallableMethod(function)]
    return [
        OnnxMethod(Path(name)) if name.endswith(".onnx") else WeightsMethod(Restorer(load(name), **options))
        for name in weights
    ]


def check_output(restored: FloatArray, degraded: FloatArray, method: Method) -> None:
    """Raise :class:`ImageError` unless a method returned a finite image of the right shape."""
    if restored.shape != degraded.shape:
        raise ImageError(f"{method.name} gave {_size(restored)}, expected {_size(degraded)}")
    if not np.isfinite(restored).all():
        raise ImageError(f"{method.name} gave values that are not finite")


@contextmanager
def _importable_from(folder: Path) -> Generator[None]:
    """Let modules of a folder be imported, here the current one, after all others."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _size(image: FloatArray) -> str:
    if image.ndim != 3:
        return f"shape {image.shape}"
    return f"{image.shape[2]}×{image.shape[1]} pixels in {len(image)} channel{'s' if len(image) > 1 else ''}"
