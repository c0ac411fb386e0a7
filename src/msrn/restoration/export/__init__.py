"""Weights become files for other programs, each checked against the network before it gets its name.

=========  ==================  =========================================================================================
format     file                what it is
=========  ==================  =========================================================================================
onnx       ``.onnx``           the network alone: the planes that it sees, in and out
image      ``.onnx``           RGB in, RGB out, enlargement and colour rule inside, for programs without them
openvino   ``.xml, .bin``      the network alone for OpenVINO; with ``precision="int8"``, rounded to 8 bit as measured
torch      ``.pt2``            the network alone, as a program of ``torch.export``
darktable  ``.dtmodel``        ``image`` as a package for darktable's neural restore
spandrel   ``.safetensors``    as ``image``, as tensors for spandrel, chaiNNer and ComfyUI
web        a folder            ``onnx`` with a page that restores pictures in a browser
=========  ==================  =========================================================================================

All take images with sides of any length. Their metadata say which weights they are, what they see, the scale, and how
far a pixel reaches (the halo that tiles need).
"""

from importlib import import_module
from pathlib import Path
from typing import NamedTuple, get_args

from msrn.errors import UsageError
from msrn.network.weights import Weights
from msrn.restoration.export.parity import TOLERANCE
from msrn.restoration.steps import LARGEST
from msrn.system.extras import missing
from msrn.types import ENLARGING, ExportFormat


class Format(NamedTuple):
    """A row of the table above."""

    module: str
    suffix: str
    packages: tuple[str, ...]
    extra: str
    """What brings the packages."""
    has_scale: bool
    """Whether the enlargement is part of the file."""


_ONNX = (("onnx", "onnxruntime"), "onnx")
FORMATS = {
    "onnx": Format("onnx_planes", ".onnx", *_ONNX, False),
    "image": Format("onnx_image", ".onnx", *_ONNX, True),
    "openvino": Format("openvino_ir", ".xml", (), "", False),
    "torch": Format("torch_program", ".pt2", ("torch",), "torch", False),
    "darktable": Format("darktable", ".dtmodel", *_ONNX, False),
    "spandrel": Format("spandrel_file", ".safetensors", ("torch",), "torch", True),
    "web": Format("web", "", *_ONNX, True),
}


def export(
    weights: Weights,
    path: Path,
    kind: ExportFormat | None = None,
    *,
    scale: float | None = None,
    precision: str = "fp32",
    runtime: Path | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Write weights for another program; see the module for the formats.

    Args:
        weights: what to write.
        path: the file, or for ``web`` the folder; it is replaced if it exists.
        kind: the format; that of the suffix if None.
        scale: enlargement, for ``image``, ``web`` and ``spandrel`` of super-resolution; 2 by default.
        precision: ``fp32``, or ``int8`` for ``openvino``.
        runtime: npm's onnxruntime-web, its ``.tgz`` or unpacked, for ``web``.
        tolerance: largest difference allowed, of values in [0, 1]; a larger one is a fault.

    Returns:
        The largest difference seen, on noise of 20 random sizes, from what the package computes itself.

    Raises:
        UsageError: a format, suffix, scale or precision that does not fit, or missing packages.
        MSRNError: the file does not compute what the network does; nothing is written.
        OutputError: the file cannot be written.

    Example:
        >>> export(msrn.network.weights.load("sr"), Path("sr.onnx"))
    """
    kind = kind or _by_suffix(path)
    row = FORMATS[kind]
    if row.suffix and path.suffix.lower() != row.suffix:
        raise UsageError(f"{kind} is written as {row.suffix}, not {path.suffix or path.name!r}")
    if scale is not None and (weights.card.task not in ENLARGING or not row.has_scale):
        raise UsageError(
            "a scale is for enlarging weights as image, web or spandrel; elsewhere the picture is enlarged before"
        )
    if (scale or 0) > LARGEST:
        raise UsageError(f"exported networks enlarge by 1 to {LARGEST:g}, not by {scale:g}: interpolate their result")
    if precision != "fp32" and kind != "openvino":
        raise UsageError(f"{precision} is for openvino; {kind} is fp32")
    if runtime is not None and kind != "web":
        raise UsageError(f"--runtime is for web, not for {kind}")
    try:
        module = import_module(f"msrn.restoration.export.{row.module}")
    except ImportError as error:
        if error.name not in row.packages:
            raise
        raise missing(f"exporting as {kind}", " and ".join(row.packages), row.extra) from error
    options = {"scale": 2.0 if scale is None else scale} if row.has_scale else {}
    options |= {"precision": precision} if kind == "openvino" else {}
    options |= {"runtime": runtime} if kind == "web" else {}
    return module.export(weights, path, tolerance=tolerance, **options)


def _by_suffix(path: Path) -> ExportFormat:
    for kind in get_args(ExportFormat):
        if path.suffix and FORMATS[kind].suffix == path.suffix.lower():
            return kind
    known = dict.fromkeys(row.suffix for row in FORMATS.values() if row.suffix)
    raise UsageError(f"{path.name!r} is of no known format; name it {' or '.join(f'*{suffix}' for suffix in known)}")
