"""napari: the layer that is chosen is restored into a new one. napari makes the windows from the functions' types.

Layers are (H, W), (H, W, 3) or stacks of them; uint8, uint16, or floating point in [0, 1].
"""

from typing import Annotated, Any

import numpy as np

import msrn

Share = Annotated[float, {"min": 0.0, "max": 1.0, "step": 0.05}]
Factor = Annotated[float, {"min": 1.0, "max": 4.0, "step": 0.5}]


def _planes(image: Any, restore: Any) -> Any:
    """Each plane of a stack, or the picture itself."""
    array = np.asarray(image)
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4)):
        return restore(array)
    return np.stack([_planes(part, restore) for part in array])


def restore(image: "napari.types.ImageData") -> "napari.types.ImageData":  # noqa: F821
    """Find out what the image needs, and restore that."""
    return _planes(image, msrn.restore)


def denoise(image: "napari.types.ImageData", strength: Share = 1.0) -> "napari.types.ImageData":  # noqa: F821
    """Remove noise."""
    return _planes(image, lambda array: msrn.denoise(array, strength=strength))


def dejpeg(image: "napari.types.ImageData", strength: Share = 1.0) -> "napari.types.ImageData":  # noqa: F821
    """Remove JPEG artifacts."""
    return _planes(image, lambda array: msrn.dejpeg(array, strength=strength))


def upscale(image: "napari.types.ImageData", scale: Factor = 2.0) -> "napari.types.ImageData":  # noqa: F821
    """Enlarge."""
    return _planes(image, lambda array: msrn.upscale(array, scale))
