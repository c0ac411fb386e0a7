"""What a batch is to make of its inputs: decides, with the restorer, whether an output is there already."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from msrn import __version__
from msrn.types import Size

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.restoration.automatic import Chooser
    from msrn.restoration.restorer import Restorer


@dataclass(frozen=True)
class Settings:
    """What decides the output besides the pixels and the weights."""

    scale: float | None = None
    """See ``Restorer.__call__``."""
    size: Size | None = None
    """See ``Restorer.__call__``."""
    quality: int = 95
    subsampling: str = "4:4:4"
    strip_metadata: bool = False
    consistent: bool = False
    """Move results into what their inputs allow; see ``restoration/certificate``."""
    confidence: bool = False
    """Estimate the errors of results, and draw maps of them; see ``restoration/confidence``."""
    version: str = __version__
    """What this program was called; outputs of another version are not taken for this one's."""
    frame: int | None = None
    """Which frame or page of a file that has several, from 1; None for all."""

    def digest(self, restorer: "Restorer | Chooser", deadline: float = 0) -> str:
        """SHA-256 of everything that decides what becomes of an input; ``deadline`` is that of ``restore_files``."""
        given = asdict(self)
        # As before there were such choices: batches that were begun then go on.
        if self.frame is None:
            del given["frame"]
        if not self.consistent:
            del given["consistent"]
        if not self.confidence:
            del given["confidence"]
        if deadline:
            given["deadline"] = deadline
        return hashlib.sha256(json.dumps(given | restorer.identity, sort_keys=True).encode()).hexdigest()
