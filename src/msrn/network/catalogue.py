"""The catalogue: the weights files that come with the package, as data."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msrn.types import Task


@dataclass(frozen=True)
class CatalogueRow:
    """One row of the catalogue."""

    name: str
    """What ``--weights`` takes."""
    task: Task
    file: str
    sha256: str
    summary: str
    color: bool = False
    """Whether the network sees R, G and B together."""
    chroma: str = ""
    """Name of the weights that restore the chroma of pictures in colours beside these, which see luminance alone."""

    @property
    def kind(self) -> str:
        """What the first such row is the default for: ``denoise``, ``denoise-color``; ``photo`` always has colours."""
        return kind_of(self.task, self.color)


# The first row of a kind is its default.
CATALOGUE: tuple[CatalogueRow, ...] = (
    CatalogueRow(
        name="msrn-m4r1s2-sr",
        task="sr",
        file="MSRN_M4R1C64S2_sr-291-afa43be8.safetensors",
        sha256="afa43be8e8672f1e350426d36d7edac71002a7c11c42845862e4e4dc8ca0cf36",
        summary="enlarging by any factor up to 4; 0.089 M multiply-adds per pixel",
    ),
    CatalogueRow(
        name="msrn-m6r1s2-sr",
        task="sr",
        file="MSRN_M6R1C96S2_sr-291-8feb27d0.safetensors",
        sha256="8feb27d03fcc3646fad489c415ceb22edca858cc2a3ace17a1ad96bea30e28ae",
        summary="the same, better, at 3.5 times the cost; 0.313 M multiply-adds per pixel",
    ),
    CatalogueRow(
        name="msrn-m6r6-sr",
        task="sr",
        file="MSRN_M6R6C64_sr-291-4050de72.safetensors",
        sha256="4050de72bf20c232e0871a5d76847a246a0e85685917a9ec6d4acdc12d656002",
        summary="the paper's own network: enlarging by 2, 3 or 4, 32 times the cost; 2.889 M multiply-adds per pixel",
    ),
    CatalogueRow(
        name="msrn-m4r1s2-denoise",
        task="denoise",
        file="MSRN_M4R1C64S2_denoise-291-e47eadc2.safetensors",
        sha256="e47eadc2495b58ba5cdb4c5c78c82554683809f28dfff86fa28971d555af77b9",
        summary="Gaussian noise, blind, σ up to 75; 0.089 M multiply-adds per pixel",
    ),
    CatalogueRow(
        name="msrn-m6r1s2-denoise",
        task="denoise",
        file="MSRN_M6R1C96S2_denoise-291-06044d93.safetensors",
        sha256="06044d93202f241b5eb7d9fcff1aa2a3c42274d5c295a8e4bdfbcab9e4d404e9",
        summary="the same, better, at 3.5 times the cost; 0.313 M multiply-adds per pixel",
    ),
    CatalogueRow(
        name="msrn-m4r1s2-denoise-color",
        task="denoise",
        file="MSRN_M4R1C64S2_denoise-color-291-3750aa07.safetensors",
        sha256="3750aa0708dbb4aa50bd2b2326758afd5da71570b24a9249552658f338c68d80",
        summary="noise in colours, R, G and B at once; 0.092 M multiply-adds per pixel",
        color=True,
    ),
    CatalogueRow(
        name="msrn-m4r1s2-jpeg",
        task="jpeg",
        file="MSRN_M4R1C64S2_jpeg-291-56672e0f.safetensors",
        sha256="56672e0f4331b054d035eca809b6a5b439843e12522e398f0bbbcf6b462103af",
        summary="JPEG artifacts, blind, quality 5 to 98; 0.089 M multiply-adds per pixel",
    ),
    CatalogueRow(
        name="msrn-m6r1s2-jpeg",
        task="jpeg",
        file="MSRN_M6R1C96S2_jpeg-291-533709a6.safetensors",
        sha256="533709a66778275a2e6bd44f49a41e2283adee380857657a2ac98ede26c13b3f",
        summary="the same, better, at 3.5 times the cost; 0.313 M multiply-adds per pixel",
        chroma="msrn-m4r1s2-jpeg-color",
    ),
    CatalogueRow(
        name="msrn-m4r1s2-jpeg-color",
        task="jpeg",
        file="MSRN_M4R1C64S2_jpeg-color-291+photos14-94722139.safetensors",
        sha256="9472213938c29b316b8d48802c986e8104cdf5f63d55ff20d527e04a70d503fd",
        summary="JPEG artifacts in colours, R, G and B at once; 0.092 M multiply-adds per pixel",
        color=True,
    ),
    CatalogueRow(
        name="msrn-m4r1s2-photo",
        task="photo",
        file="MSRN_M4R1C64S2_photo-color-291+photos14-40d4c188.safetensors",
        sha256="40d4c188b44f0c451e70cb1a141068d9efb221c7adc76fbd225af0003617cb2e",
        summary="noise in colours as files hold it, alone or under JPEG artifacts; 0.092 M multiply-adds per pixel",
        color=True,
    ),
    CatalogueRow(
        name="msrn-m6r1s2-photo",
        task="photo",
        file="MSRN_M6R1C96S2_photo-color-291+photos14-9aa8f772.safetensors",
        sha256="9aa8f772968ffaeff1643d226f40965e59b34df311899b9ca69b2535343f5b2f",
        summary="the same, better, at 3.5 times the cost; 0.316 M multiply-adds per pixel",
        color=True,
    ),
)


def kind_of(task: Task, color: bool) -> str:
    """What weights are for: their task, and ``-color`` where there are others for planes."""
    return f"{task}-color" if color and task in ("sr", "denoise", "jpeg") else task


def find(name: str | Path, rows: Sequence[CatalogueRow] = CATALOGUE) -> CatalogueRow | None:
    """Return the catalogue row of a name, task or task and ``-color``, or of what serves under it, or None."""
    wanted = _canonical(str(name))
    for row in rows:
        if wanted in (_canonical(row.name), _canonical(Path(row.file).stem), row.kind):
            return row
    return stand_in(name, rows)


_ORIGINALS_NAME = re.compile(
    r"msrn-m(?P<blocks>\d+)r(?P<recursions>\d+)(-(x[2348]|(?P<task>sr|denoise|jpeg)))?(-t?91|-t?b?291)?(-[0-9a-f]{8})?"
)


def stand_in(name: str | Path, rows: Sequence[CatalogueRow] = CATALOGUE) -> CatalogueRow | None:
    """Return the row that serves under a name of the original's or of the field's, or None for any other name.

    Such names say M and R of the paper's network, with 64 channels, and often a scale: ``MSRN_M6R6_x2``,
    ``MSRN_M6R6_x2-T91-2096ee7f``, ``memnet_m6r6``, ``memnet_m10r10_denoise``. Where no such network is published, the
    one that is nearest in size stands in for it.

    Example:
        >>> stand_in("memnet_m6r6").name
        'msrn-m6r6-sr'
        >>> stand_in("memnet_m4r6").name
        'msrn-m4r1s2-sr'
    """
    said = _said_by(name)
    if said is None:
        return None
    fitting = [row for row in rows if row.task == (said["task"] or "sr") and not row.color]
    for start in (f"msrn-m{said['blocks']}r{said['recursions']}-", f"msrn-m{said['blocks']}r"):
        for row in fitting:
            if row.name.startswith(start):
                return row
    return fitting[-1] if fitting else None


def named_shape(name: str | Path) -> str | None:
    """Return the shape that such a name says, for example ``M6R6C64``, or None for any other name."""
    said = _said_by(name)
    return f"M{said['blocks']}R{said['recursions']}C64" if said else None


def _said_by(name: str | Path) -> re.Match[str] | None:
    return _ORIGINALS_NAME.fullmatch(_canonical(str(name)))


def _canonical(name: str) -> str:
    name = name.lower().replace("_", "-").replace("memnet", "msrn")
    return name.removesuffix(".safetensors")
