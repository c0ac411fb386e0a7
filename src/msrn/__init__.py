"""MSRN-PyTorch: the persistent memory network (MemNet, ICCV 2017) for image restoration.

    import msrn
    picture = msrn.read("photo.jpg")
    msrn.write(msrn.Restorer("jpeg")(picture), "restored.png")

``msrn.Automatic()`` finds out by itself what a picture needs. Nothing here imports torch until it is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msrn.errors import MSRNError
    from msrn.images import read, write
    from msrn.images.picture import Picture
    from msrn.network.config import MSRNConfig
    from msrn.network.memnet import MSRN
    from msrn.restoration.automatic import Automatic
    from msrn.restoration.restorer import Restorer

__version__ = "0.1.0"

__all__ = ["MSRN", "Automatic", "MSRNConfig", "MSRNError", "Picture", "Restorer", "__version__", "read", "write"]

_HOMES = {
    "Automatic": "restoration.automatic",
    "MSRN": "network.memnet",
    "MSRNConfig": "network.config",
    "MSRNError": "errors",
    "Picture": "images.picture",
    "Restorer": "restoration.restorer",
    "read": "images",
    "write": "images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'msrn' has no attribute {name!r}")
    return getattr(import_module(f"msrn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
