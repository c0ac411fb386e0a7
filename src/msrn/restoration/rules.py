"""What a diagnosis calls for, and how that is told.

The rules, in the order they are applied (``scripts/benchmarks/diagnosis.py`` shows what each threshold gains):

* JPEG of quality 92 or less, as its file says, or by traces in the pixels of other files: remove the artifacts. Above
  there is little to gain.
* Noise under such a JPEG: remove both by the network for photographs, if what that network removes from parts of the
  picture looks like noise, or is far more than what the one for JPEGs removes, and even; from gray pictures the noise
  first, as the other order costs up to 2 dB.
* Noise of σ 6 or more without a JPEG: remove it, if what the network removes from parts looks like it; from pictures in
  colours by the one for photographs, which knows that files clip it.
* JPEG artifacts alone, and enlarging, of small pictures: by the larger networks (``automatic.BETTER``), as they take no
  long time either. For the same reason, what is left of a JPEG file is moved into what the file allows
  (``certificate``).
* Enlarge last, and only if asked to. ``automatic.Enlarging`` does nothing else, but to a JPEG of quality 92 or less as
  its file says: that one's artifacts are removed first, as enlarged they look worse than what bicubic interpolation
  makes.
"""

from msrn.restoration.diagnosis import Diagnosis
from msrn.types import Task

JPEG_QUALITY = 92
"""Highest quality whose artifacts are removed."""
NOISE = 6.0
"""Lowest σ of R, G and B that is removed, on the scale of 0 to 255."""
NOISE_UNDER_JPEG = 3.0
"""The same under a JPEG, which has smoothed some of it, where the network for photographs is not asked."""
LOOKS_ALONE = 0.45, 8.0
"""Least deviation of what is removed as noise, as a share of the estimate, and its highest kurtosis."""
LOOKS_UNDER_JPEG = 2.0, 5.5
"""The same of noise under a JPEG, but in grey levels."""
COVERED = 1.6, 4.75
"""Of noise that a JPEG has made less white: how many times the deviation must be of what the network for JPEGs removes,
and the highest kurtosis."""


def thresholds() -> str:
    """All of them: pictures restored by others are restored anew."""
    return " ".join(map(str, (JPEG_QUALITY, NOISE, NOISE_UNDER_JPEG, *LOOKS_ALONE, *LOOKS_UNDER_JPEG, *COVERED)))


def is_jpeg(found: Diagnosis) -> bool:
    """Whether there are JPEG artifacts to remove."""
    return found.quality is not None and found.quality <= JPEG_QUALITY


def tasks_for(found: Diagnosis, noisy: bool, *, photo: bool) -> list[Task]:
    """What a diagnosis calls for, in order.

    Args:
        found: the diagnosis.
        noisy: whether noise is believed.
        photo: whether the network for photographs may be taken: the picture has colours, as that one needs.
    """
    if noisy:
        return ["photo"] if photo else ["denoise", "jpeg"] if is_jpeg(found) else ["denoise"]
    return ["jpeg"] if is_jpeg(found) else []


def jpeg_note(found: Diagnosis) -> str:
    """What is said of JPEG artifacts."""
    if found.quality is None:
        return "no JPEG artifacts found"
    told = {
        "file": f"quality {found.quality}",
        "unusual file": f"tables not standard, nearest to quality {found.quality}",
        "pixels": f"quality {found.quality}, judged from the pixels",
    }
    return (
        f"removed JPEG artifacts ({told[found.evidence]})" if is_jpeg(found) else f"JPEG left ({told[found.evidence]})"
    )


def noise_note(found: Diagnosis, noisy: bool) -> str:
    """What is said of noise, as it is believed or not."""
    if is_jpeg(found):
        return "removed the noise under them" if noisy else "no noise found under them"
    if noisy:
        return f"removed noise (σ {found.sigma:.0f})"
    return f"too little noise to remove (σ {found.sigma:.1f})" if found.sigma < NOISE else "fine texture left, no noise"
