"""ComfyUI nodes: MSRN Restore, Upscale, Denoise and Remove JPEG artifacts.

Put this folder into ``ComfyUI/custom_nodes`` as ``msrn``, and install msrn-pytorch into ComfyUI's Python. Images stay
float; each is restored on its own, in exact tiles. Where spandrel is installed, its loaders (*Load Upscale Model*) take
``msrn export``'s ``.safetensors`` files as well.
"""

from contextlib import suppress
from functools import lru_cache
from typing import Any

import msrn

with suppress(ImportError):
    import msrn.restoration.hosts.spandrel

STRENGTH = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05})


@lru_cache(maxsize=8)
def _loaded(task: str, strength: float) -> Any:
    if task == "restore":
        return msrn.Automatic()
    return msrn.Restorer(task, **({} if strength == 1 else {"strength": strength}))


def _each(images: Any, restorer: Any, **options: Any) -> tuple[Any]:
    """Images (N, H, W, C) in [0, 1], each through a restorer; the result has the same kind."""
    import torch

    made = []
    for image in images:
        picture = msrn.Picture.from_array(image.cpu().numpy())
        made.append(torch.from_numpy(restorer(picture, **options).to_array().clip(0, 1)))
    return (torch.stack(made).to(images),)


class _Node:
    CATEGORY = "image/restoration"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    TASK = ""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """What ComfyUI asks for."""
        return {"required": {"image": ("IMAGE",), "strength": STRENGTH}}

    def run(self, image: Any, strength: float) -> tuple[Any]:
        """Restore a batch."""
        return _each(image, _loaded(self.TASK, strength))


class MSRNRestore(_Node):
    """Finds out what each image needs, and restores that."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """What ComfyUI asks for."""
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image: Any) -> tuple[Any]:
        """Restore a batch."""
        return _each(image, _loaded("restore", 1.0))


class MSRNUpscale(_Node):
    """Enlarges by any factor up to 4."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """What ComfyUI asks for."""
        factor = ("FLOAT", {"default": 2.0, "min": 1.0, "max": 4.0, "step": 0.1})
        return {"required": {"image": ("IMAGE",), "scale": factor}}

    def run(self, image: Any, scale: float) -> tuple[Any]:
        """Enlarge a batch."""
        return _each(image, _loaded("sr", 1.0), scale=scale)


class MSRNDenoise(_Node):
    """Removes noise; its level is judged from the image."""

    TASK = "denoise"


class MSRNDejpeg(_Node):
    """Removes JPEG artifacts; the quality is judged from the image."""

    TASK = "jpeg"


NODE_CLASS_MAPPINGS = {each.__name__: each for each in (MSRNRestore, MSRNUpscale, MSRNDenoise, MSRNDejpeg)}
NODE_DISPLAY_NAME_MAPPINGS = {
    "MSRNRestore": "MSRN Restore",
    "MSRNUpscale": "MSRN Upscale",
    "MSRNDenoise": "MSRN Denoise",
    "MSRNDejpeg": "MSRN Remove JPEG artifacts",
}
