"""MSRN-PyTorch: the persistent memory network (MemNet, ICCV 2017) for image restoration.

    import msrn
    picture = msrn.read("photo.jpg")
    msrn.write(msrn.Restorer("jpeg")(picture), "restored.png")

``msrn.Automatic()`` finds out by itself what a picture needs. Nothing here imports torch until it is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msrn.automatic import Automatic
    from msrn.config import MSRNConfig
    from msrn.engine import Restorer
    from msrn.errors import MSRNError
    from msrn.files import read, write
    from msrn.network import MSRN
    from msrn.picture import Picture

__version__ = "0.1.0"

__all__ = ["MSRN", "Automatic", "MSRNConfig", "MSRNError", "Picture", "Restorer", "__version__", "read", "write"]

_HOMES = {
    "Automatic": "automatic",
    "MSRN": "network",
    "MSRNConfig": "config",
    "MSRNError": "errors",
    "Picture": "picture",
    "Restorer": "engine",
    "read": "files",
    "write": "files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'msrn' has no attribute {name!r}")
    return getattr(import_module(f"msrn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
