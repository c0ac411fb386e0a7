"""Results of evaluation and benchmark, as types; JSON is made and read here and nowhere else.

>>> scores = Scores(psnr=34.09, ssim=0.9248)
>>> scores.named()
{'psnr': 34.09, 'ssim': 0.9248}
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from msrn.types import Task

_JOINED = {"joined": True}
"""Marks a field whose own fields stand among its owner's in JSON."""


@dataclass(frozen=True)
class Scores:
    """The scores of one image, or their means over several."""

    psnr: float
    """In dB; infinite for equal images."""
    ssim: float
    """At most 1."""
    psnr_b: float | None = None
    """PSNR with blocking-effect factor in dB; only for JPEG."""

    def named(self) -> dict[str, float]:
        """The scores that were measured, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class ImageScores:
    """The scores of one image: restored, and degraded."""

    name: str
    """The file's name."""
    restored: Scores = field(metadata=_JOINED)
    baseline: Scores
    """Scores of the degraded image."""

    @property
    def gain(self) -> float:
        """PSNR gained by restoring, in dB."""
        return self.restored.psnr - self.baseline.psnr


@dataclass(frozen=True)
class Failure:
    """An image that could not be scored."""

    name: str
    error: str


@dataclass(frozen=True)
class Difference:
    """The mean difference of one score, with its 95 % interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The differences of a result to another one, by score."""

    against: str | None
    """The other method's name; None for the degraded input."""
    scores: dict[str, Difference]


@dataclass(frozen=True)
class Duration:
    """The time that restoring took, without reading, degrading and scoring."""

    seconds: float
    megapixels_per_second: float | None
    """None if nothing was restored."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of one method on one folder of images at one level."""

    task: Task
    level: float
    """Scale, noise σ or JPEG quality."""
    data: str
    """Name of the set of images."""
    images: tuple[ImageScores, ...]
    mean: Scores
    baseline: Scores
    """Mean scores of the degraded images."""
    protocol: str
    """What was done, in words."""
    color: bool
    """Whether R, G and B were scored instead of luminance."""
    weights: str | None
    """The method's name; None for the degraded input itself."""
    failures: tuple[Failure, ...] = ()
    duration: Duration | None = field(default=None, metadata=_JOINED)
    """None where times were not kept."""
    difference: Comparison | None = None
    """Comparison with the first method on the same images."""

    @property
    def gain(self) -> float:
        """Mean PSNR gained by restoring, in dB."""
        return self.mean.psnr - self.baseline.psnr

    @property
    def cell(self) -> tuple[Task, float, str, str]:
        """What must be equal for two results to be comparable: task, level, set of images, protocol."""
        return self.task, self.level, self.data, self.protocol

    @property
    def speed(self) -> float | None:
        """Megapixels per second, if known."""
        return self.duration.megapixels_per_second if self.duration else None


@dataclass(frozen=True)
class Machine:
    """The machine that a benchmark ran on, and how busy it was before."""

    kind: str
    """Kind of processor by its instructions, or the GPU's type."""
    processor: str
    cores: int
    load: float | None
    """Load average of the last minute, where the system tells it."""
    system: str
    torch: str | None
    """Version of torch, where it is installed."""


@dataclass(frozen=True)
class Ceiling:
    """The rate of lone 3×3 convolutions in one precision and backend, in 10⁹ operations per second."""

    channels: int
    precision: str
    backend: str
    gigaflops: float


@dataclass(frozen=True)
class Measurement:
    """Speed and memory of one way to compute a network on images of one size."""

    network: str
    entry: str
    """What was measured: a backend and precision, or a peer."""
    precision: str
    side: int
    """Of the square image, in pixels."""
    seconds_per_megapixel: float
    gigaflops: float
    """10⁹ operations per second; a multiply-add is two, and halos of tiles are not counted."""
    share: float | None
    """Share of the lone convolutions' rate in the same precision."""
    product: float | None
    """Share of a matrix product's rate in the same precision."""
    copy: float | None
    """Share of the rate at which memory is copied, if each operation of the network read and wrote its values alone.
    More than 1 means that operations are computed together."""
    factor: float | None
    """How many times as fast as the plain eager network."""
    memory: float | None
    """MiB that making and running it once took at most, beyond what the process had."""
    loss: float | None
    """Largest cost in dB at any level, as the weights' card says; 0 for fp32."""


@dataclass(frozen=True)
class Benchmark:
    """Speed and memory of every way to compute some networks on one machine."""

    machine: Machine
    ceilings: tuple[Ceiling, ...]
    products: dict[str, float]
    """Rates of matrix products by precision, in 10⁹ operations per second."""
    copy: float
    """Rate at which memory is copied, in gigabytes per second."""
    rows: tuple[Measurement, ...]


def to_json(result: Evaluation | Benchmark | Sequence[Evaluation], digits: int | None = None) -> str:
    """A result, or a list of several, as JSON; the infinite PSNR of equal images becomes null.

    Args:
        result: one, or those of one run.
        digits: decimals to keep; all by default.
    """
    whole = result[0] if isinstance(result, Sequence) and len(result) == 1 else result
    return json.dumps(_plain(whole, digits), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any, digits: int | None) -> Any:
    """A value as JSON has it: fields by their names, without those that are None by default."""
    if is_dataclass(value):
        plain: dict[str, Any] = {}
        for each in fields(value):
            part = getattr(value, each.name)
            if part is not None or each.default is not None:
                plain |= _plain(part, digits) if each.metadata else {each.name: _plain(part, digits)}
        return plain
    if isinstance(value, dict):
        return {key: _plain(part, digits) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, digits) for part in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return value if digits is None else round(value, digits)


def from_json(text: str) -> list[Evaluation]:
    """The results that :func:`to_json` wrote.

    Raises:
        ValueError: the text is not JSON.
        KeyError: something is missing.
    """
    values = json.loads(text)
    return [_evaluation(value) for value in (values if isinstance(values, list) else [values])]


def _evaluation(value: dict[str, Any]) -> Evaluation:
    read: dict[str, Any] = {key: value[key] for key in ("task", "level", "data", "protocol", "color", "weights")}
    read["images"] = tuple(
        ImageScores(each["name"], _scores(each), _scores(each["baseline"])) for each in value["images"]
    )
    read["failures"] = tuple(Failure(**failure) for failure in value["failures"])
    read |= {key: _scores(value[key]) for key in ("mean", "baseline")}
    if "seconds" in value:
        read["duration"] = Duration(value["seconds"], value["megapixels_per_second"])
    if "difference" in value:
        scores = value["difference"]["scores"].items()
        by_name = {name: Difference(**{key: _number(each[key]) for key in each}) for name, each in scores}
        read["difference"] = Comparison(value["difference"]["against"], by_name)
    return Evaluation(**read)


def _scores(value: dict[str, Any]) -> Scores:
    return Scores(**{key: _number(value[key]) for key in ("psnr", "ssim", "psnr_b") if key in value})


def _number(value: float | None) -> float:
    """A score; JSON has no infinity, and holds null instead."""
    return math.inf if value is None else value
