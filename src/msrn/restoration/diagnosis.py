"""What is wrong with a picture: noise, and JPEG compression as told by its file or judged from its pixels."""

from dataclasses import dataclass
from typing import Literal

from msrn.images.color import rgb_to_ycbcr
from msrn.images.picture import Picture
from msrn.restoration.jpeg_quality import quality_of_file, quality_of_pixels
from msrn.restoration.noise_level import noise_level

Evidence = Literal["file", "unusual file", "pixels"]
"""What tells a JPEG's quality: tables of its file that are libjpeg's, others it is nearest to, or pixels alone."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    sigma: float
    """Standard deviation of what seems to be noise in R, G and B, on the scale of 0 to 255; it may be texture."""
    quality: int | None
    """JPEG quality the picture was last stored at; None where pixels show no trace (about 92 and more leave none)."""
    evidence: Evidence = "pixels"
    """Of the quality."""


def diagnose(picture: Picture) -> Diagnosis:
    """Judge a picture; one of fewer than about 40×40 pixels gets no noise, for want of evidence."""
    sigma = noise_level(picture.pixels)
    if picture.metadata.jpeg is not None:
        told = quality_of_file(picture.metadata.jpeg)
        return Diagnosis(sigma, told.quality, "file" if told.standard else "unusual file")
    luminance = picture.pixels[0] if picture.is_gray else rgb_to_ycbcr(picture.pixels, "full")[0]
    return Diagnosis(sigma, quality_of_pixels(luminance), "pixels")
