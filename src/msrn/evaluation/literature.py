"""Scores from the literature, as data: what our scores are compared with.

PSNR in dB and SSIM, by data set and level (scale, σ or JPEG quality), with the method's paper.
"""

from dataclasses import dataclass
from typing import Literal

from msrn.types import Task

Status = Literal["2", "1", "R"]
STATUS: dict[Status, str] = {"2": "two sources agree", "1": "found in one source", "R": "recalled, found in no source"}

SOURCES: dict[str, str] = {
    "BM3D": "Dabov et al., TIP 2007",
    "ARCNN": "Dong et al., ICCV 2015",
    "VDSR": "Kim et al., CVPR 2016",
    "RED30": "Mao et al., NIPS 2016",
    "TNRD": "Chen and Pock, TPAMI 2017",
    "DnCNN3": "Zhang et al., TIP 2017",
    "DRRN": "Tai et al., CVPR 2017",
    "MemNet": "Tai et al., ICCV 2017",
}
"""The paper of each method."""

COSTS: dict[str, int] = {
    "ARCNN": 9**2 * 64 + 7**2 * 64 * 32 + 32 * 16 + 5**2 * 16,
    "VDSR": 9 * 64 * 2 + 18 * 9 * 64**2,
    "DnCNN3": 9 * 64 * 2 + 18 * 9 * 64**2,
    "DRRN": 9 * 128 * 2 + 50 * 9 * 128**2,
    "MemNet": 2_888_832,
    "MemNet M4R6": 1_909_888,
    "MemNet M6R8": 3_822_720,
    "MemNet M10R10": 8_008_832,
}
"""Multiply-adds per pixel, computed from the convolutions that the papers describe (DRRN: B1U25, MemNet: M6R6
unless its depth is named)."""

_ALIASES = {"b100": "bsd100", "bsds100": "bsd100", "bsds200": "bsd200"}


@dataclass(frozen=True)
class LiteratureScore:
    """PSNR in dB and SSIM of one method on one set of images at one level, as its paper prints them."""

    task: Task
    data: str
    level: float
    method: str
    psnr: float
    ssim: float | None
    status: Status

    @property
    def source(self) -> str:
        """The method's paper."""
        return SOURCES[self.method.partition(" ")[0]]


def _scores(
    task: Task, data: str, level: float, status: Status, **methods: tuple[float, float | None]
) -> tuple[LiteratureScore, ...]:
    return tuple(LiteratureScore(task, data, level, method, *scores, status) for method, scores in methods.items())


LITERATURE: tuple[LiteratureScore, ...] = (
    # Super-resolution: MemNet (ICCV 2017), table 3, and the papers of its peers.
    *_scores("sr", "set5", 2, "2", VDSR=(37.53, 0.9587), DRRN=(37.74, 0.9591), MemNet=(37.78, 0.9597)),
    *_scores("sr", "set5", 3, "2", VDSR=(33.66, 0.9213), DRRN=(34.03, 0.9244), MemNet=(34.09, 0.9248)),
    *_scores("sr", "set5", 3, "R", **{"MemNet M4R6": (34.05, None), "MemNet M6R8": (34.16, None)}),
    *_scores("sr", "set5", 3, "R", **{"MemNet M10R10": (34.23, None)}),
    *_scores("sr", "set5", 4, "2", VDSR=(31.35, 0.8838), DRRN=(31.68, 0.8888), MemNet=(31.74, 0.8893)),
    *_scores("sr", "set14", 2, "2", VDSR=(33.03, 0.9124), DRRN=(33.23, 0.9136), MemNet=(33.28, 0.9142)),
    *_scores("sr", "set14", 3, "2", VDSR=(29.77, 0.8314), DRRN=(29.96, 0.8349), MemNet=(30.00, 0.8350)),
    *_scores("sr", "set14", 4, "2", VDSR=(28.01, 0.7674), DRRN=(28.21, 0.7720), MemNet=(28.26, 0.7723)),
    *_scores("sr", "bsd100", 2, "2", VDSR=(31.90, 0.8960), DRRN=(32.05, 0.8973), MemNet=(32.08, 0.8978)),
    *_scores("sr", "bsd100", 3, "2", VDSR=(28.82, 0.7976), DRRN=(28.95, 0.8004), MemNet=(28.96, 0.8001)),
    *_scores("sr", "bsd100", 4, "2", VDSR=(27.29, 0.7251), DRRN=(27.38, 0.7284), MemNet=(27.40, 0.7281)),
    *_scores("sr", "urban100", 2, "2", VDSR=(30.76, 0.9140), DRRN=(31.23, 0.9188), MemNet=(31.31, 0.9195)),
    *_scores("sr", "urban100", 3, "2", VDSR=(27.14, 0.8279), DRRN=(27.53, 0.8378), MemNet=(27.56, 0.8376)),
    *_scores("sr", "urban100", 4, "2", VDSR=(25.18, 0.7524), DRRN=(25.44, 0.7638), MemNet=(25.50, 0.7630)),
    # Denoising: table 2; the 14 images are recalled, BSD200 was found in one source.
    *_scores("denoise", "s14", 30, "R", BM3D=(28.49, 0.8204), RED30=(29.17, 0.8423), MemNet=(29.22, 0.8444)),
    *_scores("denoise", "s14", 50, "R", BM3D=(26.08, 0.7427), RED30=(26.81, 0.7733), MemNet=(26.91, 0.7775)),
    *_scores("denoise", "s14", 70, "R", BM3D=(24.65, 0.6882), RED30=(25.31, 0.7206), MemNet=(25.43, 0.7260)),
    *_scores("denoise", "bsd200", 30, "1", BM3D=(27.31, 0.7755), RED30=(27.95, 0.8056), MemNet=(28.04, 0.8053)),
    *_scores("denoise", "bsd200", 50, "1", BM3D=(25.06, 0.6831), RED30=(25.75, 0.7167), MemNet=(25.86, 0.7202)),
    *_scores("denoise", "bsd200", 70, "1", BM3D=(23.82, 0.6240), RED30=(24.37, 0.6551), MemNet=(24.53, 0.6608)),
    # JPEG: table 4, whose own column was found in one source.
    *_scores("jpeg", "classic5", 10, "2", ARCNN=(29.03, 0.7929), TNRD=(29.28, 0.7992), DnCNN3=(29.40, 0.8026)),
    *_scores("jpeg", "classic5", 10, "1", MemNet=(29.69, 0.8107)),
    *_scores("jpeg", "classic5", 20, "2", ARCNN=(31.15, 0.8517), TNRD=(31.47, 0.8576), DnCNN3=(31.63, 0.8610)),
    *_scores("jpeg", "classic5", 20, "1", MemNet=(31.90, 0.8658)),
    *_scores("jpeg", "live1", 10, "2", ARCNN=(28.96, 0.8076), TNRD=(29.15, 0.8111), DnCNN3=(29.19, 0.8123)),
    *_scores("jpeg", "live1", 10, "1", MemNet=(29.45, 0.8193)),
    *_scores("jpeg", "live1", 20, "2", ARCNN=(31.29, 0.8733), TNRD=(31.46, 0.8769), DnCNN3=(31.59, 0.8802)),
    *_scores("jpeg", "live1", 20, "1", MemNet=(31.83, 0.8846)),
)


def scores_on(task: Task, data: str, level: float) -> list[LiteratureScore]:
    """The literature's scores on a set of images, in any spelling (``Set5``, ``B100``, ``bsd-100``), at one level.

    >>> [score.method for score in scores_on("jpeg", "LIVE1", 10)]
    ['ARCNN', 'TNRD', 'DnCNN3', 'MemNet']
    """
    name = data.lower().replace("-", "").replace("_", "")
    key = (task, _ALIASES.get(name, name), level)
    return [score for score in LITERATURE if (score.task, score.data, score.level) == key]


def score_of(task: Task, data: str, level: float, method: str = "MemNet") -> LiteratureScore | None:
    """The literature's score of one method, or None; see :func:`scores_on`."""
    return next((score for score in scores_on(task, data, level) if score.method == method), None)
