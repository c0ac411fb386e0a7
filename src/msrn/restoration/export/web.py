"""A folder that restores pictures in a browser: a page, the network as of ``onnx_planes.py``, and onnxruntime-web.

Any server of files serves it; nothing but its own files is asked for, and pictures stay in the browser. The page
enlarges and follows the colour rule as ``colors.py`` does, on whole planes; the network reads them in tiles with its
halo, so that the result is that of the whole picture. onnxruntime-web is not part of this package: it comes from npm's
package, as a file or unpacked.
"""

import json
import tarfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path, PurePosixPath

from msrn.errors import UsageError
from msrn.images.color import matrix
from msrn.network.weights import Weights
from msrn.restoration.export.about import color_rule, provenance
from msrn.restoration.export.onnx_planes import checked_model
from msrn.restoration.guidance import DAMPING, WINDOW
from msrn.system.atomic import write_atomically
from msrn.types import ENLARGING

TESTED_RUNTIME = "1.30.0"
"""The version of onnxruntime-web that the tests run."""
_WASM = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_WEBGPU = ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm")
RUNTIME = (*_WASM, *_WEBGPU)
"""The files of onnxruntime-web that the page loads: the first three without a GPU, the others with one."""
_LARGEST = 200_000_000
"""Bytes that one of them may have: a stranger's archive cannot fill the memory."""
_SAYS = {
    "sr": "enlarges photographs",
    "denoise": "removes noise",
    "jpeg": "removes JPEG artifacts",
    "photo": "removes noise and JPEG artifacts",
    "photo-sr": "removes noise and JPEG artifacts, and enlarges",
}


def export(weights: Weights, path: Path, *, scale: float, tolerance: float, runtime: Path | None) -> float:
    """See :func:`msrn.restoration.export.export`; ``path`` is the folder."""
    files = _page()
    if not 1 <= scale <= 4:
        raise UsageError(f"the page enlarges by 1 to 4, not by {scale:g}")
    if runtime is None:
        raise UsageError(
            "the page needs onnxruntime-web: get it with npm pack onnxruntime-web"
            f"@{TESTED_RUNTIME}, and give the file as --runtime"
        )
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; the page is a folder")
    version, library = _runtime(runtime)
    data, worst = checked_model(weights, tolerance)
    about = json.dumps(described(weights, scale, version), indent=2, ensure_ascii=False)
    files |= {f"ort/{name}": content for name, content in library.items()}
    files |= {"model.onnx": data, "model.json": f"{about}\n".encode()}
    for name, content in sorted(files.items(), key=lambda item: item[0] == "index.html"):  # what is opened comes last
        write_atomically(path / name, lambda file, content=content: file.write(content))
    return worst


def described(weights: Weights, scale: float, version: str) -> dict[str, object]:
    """What ``model.json`` says: to the page how to prepare and cut planes, to people what it is."""
    card = weights.card
    enlarges = card.task in ENLARGING
    names = {"toYCbCr": False, "toRGB": True}
    mixing = {name: matrix("studio" if enlarges else "full", inverse) for name, inverse in names.items()}
    return {
        "weights": weights.name,
        "sha256": weights.sha256,
        "task": card.task,
        "says": _SAYS[card.task],
        "enlarges": enlarges,
        "scale": scale if enlarges else 1,
        "channels": card.config.in_channels,
        "halo": card.config.halo,
        "step": card.config.unshuffle,
        "guidance": {"window": WINDOW, "damping": DAMPING},
        **{name: {"matrix": by.tolist(), "offset": offset.tolist()} for name, (by, offset) in mixing.items()},
        "color_rule": color_rule(weights),
        "licence": card.licence,
        "trained_on": provenance(weights),
        "onnxruntime_web": f"{version}, MIT, Microsoft",
    }


def _page() -> dict[str, bytes]:
    """The page's own files."""
    folder = resources.files("msrn.restoration.export") / "web_page"
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}


def _runtime(source: Path) -> tuple[str, Mapping[str, bytes]]:
    """The version and the files of onnxruntime-web, from npm's ``.tgz`` or from where it was unpacked.

    Raises:
        UsageError: there is no such file, or it lacks one.
    """
    wanted = {"package.json", *(f"dist/{name}" for name in RUNTIME)}
    try:
        found = _unpacked(source, wanted) if source.is_dir() else _packed(source, wanted)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UsageError(f"cannot read onnxruntime-web from {source}: {error}") from error
    lost = sorted(wanted - found.keys())
    if lost:
        raise UsageError(f"{source} is not npm's onnxruntime-web {TESTED_RUNTIME} or alike: it has no {lost[0]}")
    try:
        version = str(json.loads(found.pop("package.json"))["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{source} has a package.json that says no version") from error
    return version, {PurePosixPath(name).name: content for name, content in found.items()}


def _unpacked(folder: Path, wanted: set[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in wanted if (folder / name).is_file()}


def _packed(file: Path, wanted: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(file) as archive:
        for member in archive:
            name = member.name.removeprefix("package/")
            if name in wanted and member.isfile() and member.size <= _LARGEST:
                opened = archive.extractfile(member)
                found[name] = opened.read() if opened else b""
    return found
