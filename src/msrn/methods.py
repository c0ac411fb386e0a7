"""What evaluation can score: weights, a peer's output files, an ONNX file, any Python function.

A method takes one degraded plane, float ``(1, H, W)`` in [0, 1], and the image's name, and returns the restored plane
of the same shape.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from msrn import files
from msrn.color import Range, luminance_uint8
from msrn.degrade import to_uint8
from msrn.engine import Restorer
from msrn.errors import ImageError, MSRNError, UsageError, WeightsError
from msrn.picture import FloatArray


class Method(Protocol):
    """Anything that restores one plane."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Restore ``(1, H, W)``; ``image`` is the file's name."""
        ...


class WeightsMethod:
    """A :class:`Restorer`, luminance only."""

    def __init__(self, restorer: Restorer) -> None:
        self.restorer = restorer
        self.name = f"{restorer.weights.name} (sha256 {restorer.weights.sha256})"

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Restore ``(1, H, W)``."""
        planes = np.repeat(degraded[None].astype(np.float32), self.restorer.config.in_channels, axis=1)
        return self.restorer.restore_planes(planes)[0].mean(axis=0, keepdims=True).astype(np.float64)


class FolderMethod:
    """Restored images that something else wrote: the file with the same stem, in any known format."""

    def __init__(self, folder: Path, color_range: Range) -> None:
        if not folder.is_dir():
            raise UsageError(f"no such folder of restored images: {folder}")
        self.name = f"images in {folder.name}"
        self.color_range: Range = color_range
        self.by_stem = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in files.FORMATS}
        self.folder = folder

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Look the image up."""
        path = self.by_stem.get(Path(image).stem)
        if path is None:
            raise ImageError(f"{self.folder} holds no restored image for {image}")
        pixels = to_uint8(files.read(path).pixels)
        plane = pixels if len(pixels) == 1 else luminance_uint8(pixels, self.color_range)
        plane = plane[:, : degraded.shape[1], : degraded.shape[2]]  # the protocol crops at the bottom and right
        if plane.shape != degraded.shape:
            size = f"{pixels.shape[2]}×{pixels.shape[1]}"
            raise ImageError(f"{path} is {size}, expected at least {degraded.shape[2]}×{degraded.shape[1]}")
        return plane.astype(np.float64) / 255


class CallableMethod:
    """A Python function of a float32 array ``(H, W)`` in [0, 1], given as ``module:function``."""

    def __init__(self, specification: str) -> None:
        module, _, name = specification.partition(":")
        try:
            self.function: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UsageError(f"no function {specification!r} (module:function): {error}") from error
        self.name = specification

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Call the function."""
        result = np.asarray(self.function(degraded[0].astype(np.float32)), dtype=np.float64)
        return result.reshape(degraded.shape) if result.size == degraded.size else result[None]


class OnnxMethod:
    """An ONNX network with one input and one output, float32 ``(1, 1, H, W)``."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UsageError("ONNX files need onnxruntime: pip install 'msrn-pytorch[onnx]'") from error
        runtime: Any = onnxruntime
        try:
            self.session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has exceptions of its own
            raise WeightsError(f"{path} is not an ONNX file that can be run: {error}") from error
        self.input = self.session.get_inputs()[0].name
        self.name = path.name

    def __call__(self, degraded: FloatArray, image: str) -> FloatArray:
        """Run the network."""
        (result,) = self.session.run(None, {self.input: degraded[None].astype(np.float32)})
        return np.asarray(result, dtype=np.float64)[0]


def choose(
    weights: Sequence[str],
    restored: Path | None,
    function: str | None,
    *,
    color_range: Range,
    **options: Any,
) -> list[Method]:
    """Return what the command line asked for; ``options`` go to :class:`Restorer`."""
    if restored is not None:
        return [FolderMethod(restored, color_range)]
    if function is not None:
        return [CallableMethod(function)]
    return [
        OnnxMethod(Path(name)) if name.endswith(".onnx") else WeightsMethod(Restorer(name, **options))
        for name in weights
    ]


def check_output(restored: FloatArray, degraded: FloatArray, method: Method, image: str) -> None:
    """Raise :class:`MSRNError` unless a method returned a finite plane of the right shape."""
    if restored.shape != degraded.shape:
        raise MSRNError(f"{method.name} returned shape {restored.shape} for {image}, expected {degraded.shape}")
    if not np.isfinite(restored).all():
        raise MSRNError(f"{method.name} returned values that are not finite for {image}")
