"""Recipes: everything needed to train a weights file again, typed and strict (``recipe_file.py`` reads them)."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from msrn.types import Range, Subsampling, Task

_LEVELS: dict[Task, tuple[float, float]] = {
    "sr": (1, math.inf),
    "denoise": (0, math.inf),
    "jpeg": (1, 100),
    "photo": (0, math.inf),
    "photo-sr": (1, math.inf),
}
"""Lowest and highest scale, σ and quality."""
_MOST_UNITS, _MOST_PARAMETERS = 1000, 10**9
"""Of a network, M·R and about: the paper's has 36 and 700,000."""


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class NetworkRecipe(_Strict):
    """The network's shape (see ``MSRNConfig``) and where it starts."""

    memory_blocks: int = Field(default=6, ge=1)
    recursions: int = Field(default=6, ge=1)
    channels: int = Field(default=64, ge=1)
    in_channels: Literal[1, 3] = 1
    multi_supervised: bool = True
    unshuffle: int = Field(default=1, ge=1)
    """Work on squares of s×s pixels as one pixel of s² as many channels; 1 is the paper's network."""
    ensemble_start: float | None = None
    """First value of each w_m; the paper's is 1, None stands for 1/M."""
    zero_residual: bool = False
    """Start the reconstruction convolution at zero, so that the untrained network returns its input."""
    batchnorm_momentum: float = Field(default=0.01, gt=0, le=1)
    """Weight of the new batch in the running statistics (the paper's Caffe files: 0.001)."""

    @model_validator(mode="after")
    def _small_enough(self) -> "NetworkRecipe":
        blocks, units = self.memory_blocks, self.memory_blocks * self.recursions
        ends = 18 * self.channels * self.in_channels * self.unshuffle**2
        parameters = ends + self.channels**2 * (18 * blocks + units + blocks**2 // 2)
        if units > _MOST_UNITS or parameters > _MOST_PARAMETERS:
            raise ValueError(
                f"a network may have at most {_MOST_UNITS:,} memory_blocks × recursions, and about "
                f"{_MOST_PARAMETERS:,} parameters"
            )
        return self


class GrowthRecipe(_Strict):
    """Train with fewer recursions first: the same function goes on with all of them from ``step`` on."""

    start: int = Field(default=1, ge=1)
    step: int = Field(gt=0)


class DataRecipe(_Strict):
    """Which images, and what is cut from them."""

    folders: tuple[str, ...] = Field(min_length=1)
    """Image folders, with all their subfolders, relative to ``--data-root``."""
    patch: int = Field(default=40, ge=8)
    resident: bool = False
    """Keep all images on the device, degraded beforehand; needs the memory, spares the processor. Patches are then
    drawn independently of each other; otherwise an epoch gives every image its share."""
    reduced: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Factors by which every training image is kept once more: smaller, so sharper pixel by pixel. Held-out images stay
    as they are."""
    graphics: float = Field(default=0, ge=0, le=1)
    """Share of the training images that have figures painted into them: stripes down to one pixel, lines, dots and
    letters. Sets have few, and what a network has never seen it takes for damage. Held-out images stay as they are."""
    luminance: Range = "studio"
    levels: tuple[float, ...] = ()
    """Scales for super-resolution; lowest and highest σ or quality for the others. Empty: the task's usual."""
    common_noise: float = Field(default=0, ge=0, le=1)
    """For noise in colours: the largest share of its variance that R, G and B have in common; half of the patches, and
    held-out images, have none."""
    subsampling: tuple[Subsampling, ...] = Field(default=("4:2:0",), min_length=1)
    """For JPEGs of colours: one of these is drawn for each; held-out ones have the first."""
    validation_every: int = Field(default=20, ge=2)
    """Every n-th image is held out of training and scores the run."""
    validation_crop: int = Field(default=128, ge=32)
    validation_levels: tuple[float, ...] = Field(min_length=1)
    """What the held-out images are scored at."""


class LossRecipe(_Strict):
    """The objective: the final image's loss plus the intermediate ones', normalised to weight one."""

    kind: Literal["l1", "l2", "charbonnier", "psnr"] = "l1"
    """``psnr`` is minus each patch's PSNR in dB: an error counts by what it is beside the patch's other errors, so
    those of pictures that are nearly right already count as much as those of bad ones."""
    intermediate_weight: float = Field(default=1.0, ge=0)
    """Weight of each intermediate image against the final one; 1 is the paper's α = 1/(M+1)."""
    reduction: Literal["mean", "patch"] = "mean"
    """Mean over all pixels, or the sum over a patch's pixels and the mean over patches (as Caffe counts)."""


class OptimiserRecipe(_Strict):
    """The optimiser, its learning-rate schedule and what protects it."""

    kind: Literal["adamw", "sgd"] = "adamw"
    rate: float = Field(default=2e-3, gt=0)
    """The learning rate, at its highest."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Decoupled from the gradient in AdamW, added to it in SGD."""
    batch: int = Field(default=16, ge=1)
    """Patches per step, in all processes together."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a batch is computed in, one after the other, to save memory; BatchNorms see one part at a time."""
    steps: int = Field(gt=0)
    """Batches in all; ``--dry-run`` says how many epochs that makes."""
    schedule: Literal["cosine", "step", "one_cycle"] = "cosine"
    """``cosine``: warm-up, hold, then a cosine to zero over the last ``decay_steps``. ``step``: warm-up, then
    ``decay_factor`` of the rate after every ``decay_steps``. ``one_cycle``: a cosine from rate/25 up to the rate over
    ``warmup_steps``, then down to rate/250,000 at the end."""
    warmup_steps: int = Field(default=200, ge=0)
    """Over which the rate rises to its highest."""
    decay_steps: int = Field(default=0, ge=0)
    """Length of the cosine's fall, or steps between two of the step schedule's."""
    decay_factor: float = Field(default=0.1, gt=0, le=1)
    """Of the step schedule; 0.1 is the paper's."""
    clip: Literal["norm", "adjustable"] = "norm"
    """Limit of the gradient's global L2 norm: ``clip_norm``, or the paper's ``clip_norm`` divided by the rate."""
    clip_norm: float = Field(default=1.0, gt=0)
    """See ``clip``."""
    freeze_batchnorm_step: int | None = Field(default=None, ge=0)
    """From this step on, BatchNorms use their running statistics, as at inference."""
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    """Of the averaged network, which is scored and published, in each step."""
    skip_limit: int = Field(default=10, ge=0)
    """Steps in a row that may be skipped because loss or gradient is not finite; one more ends the run."""

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step.

        Before a cosine's decay it does not depend on ``steps``, so such a run may be prolonged until then.
        """
        if self.schedule == "one_cycle":
            if step < self.warmup_steps:
                return self.rate * (0.04 + 0.96 * _rising(step / self.warmup_steps))
            left = (self.steps - step) / max(1, self.steps - self.warmup_steps)
            return self.rate * (4e-6 + (1 - 4e-6) * _rising(left))
        rate = self.rate * min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "step":
            return rate * self.decay_factor ** (step // self.decay_steps)
        return rate * _rising((self.steps - step) / self.decay_steps if self.decay_steps else 1.0)

    def clip_at(self, rate: float) -> float:
        """Return the limit of the gradient norm at a learning rate (paper, section 4: adjustable clipping)."""
        return self.clip_norm / rate if self.clip == "adjustable" else self.clip_norm

    def frozen_at(self, step: int) -> bool:
        """Whether BatchNorms use their running statistics in this step."""
        return self.freeze_batchnorm_step is not None and step >= self.freeze_batchnorm_step


def _rising(share: float) -> float:
    """Half a cosine wave from 0 at share 0 to 1 at share 1."""
    return 0.5 * (1 - math.cos(math.pi * min(1.0, max(0.0, share))))


class Recipe(_Strict):
    """One training run."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    task: Task
    seed: int = Field(default=0, ge=0)
    network: NetworkRecipe = NetworkRecipe()
    growth: GrowthRecipe | None = None
    data: DataRecipe
    loss: LossRecipe = LossRecipe()
    optimiser: OptimiserRecipe
    checkpoint_minutes: float = Field(default=5, gt=0)
    keep: int = Field(default=2, ge=1)
    """Newest checkpoints kept, beside the best one by held-out score."""
    evaluate_every: int = Field(default=500, gt=0)
    """Steps between scores on the held-out images."""

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        o = self.optimiser
        if o.decay_steps > o.steps:
            raise ValueError(f"optimiser.decay_steps ({o.decay_steps}) must not exceed optimiser.steps ({o.steps})")
        if o.schedule == "step" and not o.decay_steps:
            raise ValueError("the step schedule needs optimiser.decay_steps, the steps between two decays")
        if o.schedule == "one_cycle" and o.warmup_steps > o.steps:
            raise ValueError(
                f"the one_cycle schedule never reaches its rate: optimiser.warmup_steps ({o.warmup_steps}) exceeds "
                f"optimiser.steps ({o.steps})"
            )
        if o.batch % o.accumulate:
            raise ValueError(f"optimiser.batch ({o.batch}) must be a multiple of optimiser.accumulate ({o.accumulate})")
        if self.growth and self.growth.start > self.network.recursions:
            raise ValueError("growth.start must not exceed network.recursions")
        if self.growth and self.growth.step >= o.steps:
            raise ValueError(f"growth.step ({self.growth.step}) must be below optimiser.steps ({o.steps})")
        low, high = _LEVELS[self.task]
        for key in ("levels", "validation_levels"):
            wrong = [level for level in getattr(self.data, key) if not low <= level <= high]
            if wrong:
                raise ValueError(f"data.{key} must be from {low:g} to {high:g} for {self.task!r}, got {wrong[0]:g}")
        return self

    @model_validator(mode="after")
    def _takes_effect(self) -> "Recipe":
        """Refuse what the task would ignore."""
        data, default = self.data, DataRecipe.model_fields["subsampling"].default
        seen = (self.task, self.network.in_channels)
        if data.common_noise and seen != ("denoise", 3):
            raise ValueError("data.common_noise is for noise in colours: task denoise with network.in_channels = 3")
        if data.subsampling != default and seen != ("jpeg", 3):
            raise ValueError("data.subsampling is for JPEGs of colours: task jpeg with network.in_channels = 3")
        if data.resident and self.task in ("photo", "photo-sr"):
            raise ValueError(f"data.resident degrades images once, and {self.task} each patch anew: leave it out")
        return self
