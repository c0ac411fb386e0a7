"""VapourSynth: restores clips with ``msrn export -f image`` files, computed by the plug-in of vs-mlrt.

    import vapoursynth as vs
    import msrn_vs

    clip = vs.core.lsmas.LWLibavSource("video.mkv")
    msrn_vs.restore(clip, "denoise.onnx").set_output()

The file says its scale and halo itself, which are read here without the package ``onnx``.
"""

import re
from pathlib import Path
from typing import Any


def facts(model: str | Path) -> dict[str, str]:
    """Scale and halo from the metadata of a file: strings of protocol buffers, each after its length."""
    data = Path(model).read_bytes()
    found = {}
    for name in ("scale", "halo"):
        entry = re.search(rb"\x0a" + bytes([len(name)]) + name.encode() + rb"\x12(.)", data, re.DOTALL)
        if entry is None:
            raise ValueError(f"{model} says no {name}: make it with msrn export -f image")
        found[name] = data[entry.end() : entry.end() + entry[1][0]].decode()
    return found


def restore(clip: Any, model: str | Path, *, tile: int = 512, provider: str = "", matrix: str = "709") -> Any:
    """Restore a clip of any format.

    Args:
        clip: the clip.
        model: a file from ``msrn export -f image``.
        tile: side of the tiles, before they overlap by the halo that the file says.
        provider: of ONNX Runtime, such as ``CUDA``; the processor by default.
        matrix: of the colours, where the clip is not RGB.

    Returns:
        The restored clip in the clip's own format, larger by the file's scale.
    """
    import vapoursynth as vs

    said = facts(model)
    halo, scale, before = int(said["halo"]), float(said["scale"]), clip.format
    rgb = clip.resize.Bicubic(format=vs.RGBS, **({} if before.color_family == vs.RGB else {"matrix_in_s": matrix}))
    size = [min(tile + 2 * halo, side) for side in (clip.width, clip.height)]
    made = vs.core.ort.Model([rgb], str(model), overlap=[halo, halo], tilesize=size, provider=provider)
    assert made.width == round(clip.width * scale)
    return made.resize.Bicubic(format=before.id, **({} if before.color_family == vs.RGB else {"matrix_s": matrix}))
