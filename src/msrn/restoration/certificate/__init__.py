"""What an input file allows of a result: checked for anybody's, enforced for ours (``--consistent``)."""

from msrn.restoration.certificate.departure import Departure, measure
from msrn.restoration.certificate.keeping import keep_consistent

__all__ = ["Departure", "keep_consistent", "measure"]
