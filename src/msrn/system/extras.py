"""Optional packages: what to say when one is missing."""

import json
from urllib.parse import unquote, urlparse

from msrn.errors import UsageError

_NAME = "msrn-pytorch"
_EXTRAS = {
    "torch": "torch",
    **dict.fromkeys(("pydantic", "fsspec", "aiohttp", "tensorboard", "jinja2", "matplotlib"), "train"),
    **dict.fromkeys(("onnx", "onnxruntime", "google"), "onnx"),
    "av": "video",
    "huggingface_hub": "hub",
    "pylibjxl": "jxl",
    "rasterio": "raster",
    **dict.fromkeys(("obstore", "pyarrow", "ray"), "cluster"),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "prometheus_client"), "serve"),
}
"""Which extra brings a package."""


def missing(what: str, packages: str, extra: str) -> UsageError:
    """Return the error for something that needs packages which are not installed.

    Args:
        what: what needs them, such as ``the onnx backend``.
        packages: their names, for people.
        extra: the extra of this package that brings them; empty for its own dependencies.

    Example:
        >>> raise missing("exporting", "onnx", "onnx")
        UsageError: exporting needs onnx, which is not installed: python -m pip install "msrn-pytorch[onnx]"
    """
    return UsageError(f"{what} needs {packages}, which is not installed: {install_command(extra)}")


def explained(error: ImportError, what: str) -> UsageError | None:
    """Return what to say when ``what`` could not import an optional package; None for any other module."""
    package = (error.name or "").partition(".")[0]
    return missing(what, package, _EXTRAS[package]) if package in _EXTRAS else None


def installed_version(package: str) -> str | None:
    """The version of a package, or None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def install_command(extra: str) -> str:
    """The command that installs an extra where this package came from: a folder, a wheel, or an index."""
    from importlib.metadata import PackageNotFoundError, distribution  # which takes long, and is seldom needed

    wanted = f"[{extra}]" if extra else ""
    try:
        origin = json.loads(distribution(_NAME).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        origin = {}
    url = str(origin.get("url", ""))
    if url.startswith("file:") and "dir_info" in origin:
        edit = "-e " if origin["dir_info"].get("editable") else ""
        return f'python -m pip install {edit}"{unquote(urlparse(url).path)}{wanted}"'
    if url:
        return f'python -m pip install "{_NAME}{wanted} @ {url}"'
    return f'python -m pip install "{_NAME}{wanted}"'
