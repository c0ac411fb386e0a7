"""Looking inside a network: what its gates read, what its blocks add, how far it sees, and where the effort went."""

from msrn.evaluation.inspection.inspect import default_level, inspect
from msrn.evaluation.inspection.numbers import Gate, Inspected, Inspection, Reach, Spectra

__all__ = ["Gate", "Inspected", "Inspection", "Reach", "Spectra", "default_level", "inspect"]
