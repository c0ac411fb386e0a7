"""Many files through one :class:`~msrn.restoration.restorer.Restorer`, and nothing lost, whatever happens.

:func:`plan_outputs` settles every name before the first pixel is read; :func:`claim` takes possession of the output
folder before the weights are loaded; :func:`restore_files` works through the plan, records what fails and goes on. A
manifest in the output folder says what each output was made from, so that a second run does only what is missing.
"""

from msrn.batch.decision import Outcome
from msrn.batch.forecast import JobForecast, forecast_batch
from msrn.batch.maps import with_maps
from msrn.batch.output_folder import ClaimedOutput, claim
from msrn.batch.pictures_only import check_pictures_only
from msrn.batch.plan import STDIO, Job, Plan, plan_outputs
from msrn.batch.restore import Existing, restore_files
from msrn.batch.settings import Settings
from msrn.types import Limits

__all__ = [
    "STDIO",
    "ClaimedOutput",
    "Existing",
    "Job",
    "JobForecast",
    "Limits",
    "Outcome",
    "Plan",
    "Settings",
    "check_pictures_only",
    "claim",
    "forecast_batch",
    "plan_outputs",
    "restore_files",
    "with_maps",
]
