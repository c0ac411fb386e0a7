"""How far a restored picture is likely to be from the truth: a map, and a number for the picture."""

from msrn.restoration.confidence.calibration import NotMeasuredError
from msrn.restoration.confidence.estimate import SHARE, WHITE, Confidence, Estimate, restore_with_confidence

__all__ = ["SHARE", "WHITE", "Confidence", "Estimate", "NotMeasuredError", "restore_with_confidence"]
