"""MSRN-PyTorch: the persistent memory network (MemNet, ICCV 2017) for image restoration.

    import msrn
    msrn.write(msrn.restore("photo.jpg"), "restored.png")
    larger = msrn.upscale(array, 2)

``restore``, ``upscale``, ``denoise`` and ``dejpeg`` take paths, arrays, images of PIL, tensors and pictures, and return
the same kind; they call :class:`Restorer` and :class:`Automatic`. Nothing here imports torch until it is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msrn.errors import MSRNError
    from msrn.images import Frames, read, read_frames, write, write_frames
    from msrn.images.picture import Picture
    from msrn.network.config import MSRNConfig
    from msrn.network.memnet import MSRN
    from msrn.restoration.automatic import Automatic
    from msrn.restoration.functions import dejpeg, denoise, restore, upscale, verify, with_confidence
    from msrn.restoration.restorer import Restorer

__version__ = "0.1.0"

__all__ = [
    "MSRN",
    "Automatic",
    "Frames",
    "MSRNConfig",
    "MSRNError",
    "Picture",
    "Restorer",
    "__version__",
    "dejpeg",
    "denoise",
    "read",
    "read_frames",
    "restore",
    "upscale",
    "verify",
    "with_confidence",
    "write",
    "write_frames",
]

_HOMES = {
    "Automatic": "restoration.automatic",
    "Frames": "images",
    "MSRN": "network.memnet",
    "MSRNConfig": "network.config",
    "MSRNError": "errors",
    "Picture": "images.picture",
    "Restorer": "restoration.restorer",
    "dejpeg": "restoration.functions",
    "denoise": "restoration.functions",
    "read": "images",
    "read_frames": "images",
    "restore": "restoration.functions",
    "upscale": "restoration.functions",
    "verify": "restoration.functions",
    "with_confidence": "restoration.functions",
    "write": "images",
    "write_frames": "images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'msrn' has no attribute {name!r}")
    return getattr(import_module(f"msrn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
