"""A training run: its state, how it starts, grows, is saved and goes on."""

import copy
import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from msrn.errors import UsageError, WeightsError
from msrn.network.config import MSRNConfig
from msrn.network.growth import grow, measure, misfits
from msrn.network.memnet import MSRN, Outputs, build, initialise
from msrn.network.weights import Weights, tensors_of
from msrn.restoration.backends.pytorch import keep_compiled_code_private
from msrn.system.machine import instructions
from msrn.training import checkpoint
from msrn.training.distributed import SharedBatchNorm
from msrn.training.recipe import NetworkRecipe, OptimiserRecipe, Recipe
from msrn.training.recipe_file import validate
from msrn.training.setting import Setting

logger = logging.getLogger(__name__)
_TOLD = ("seconds", "best", "skipped", "skipped_in_a_row", "data", "precision", "origin")
"""What a checkpoint holds as it is; the last three were not known to the first versions."""


class TrainingRun:
    """A recipe, where it is computed, and what changes while it is trained."""

    network: MSRN
    average: MSRN
    """Exponential moving average of the network: the one that is evaluated and published."""
    forward: Callable[[Tensor], Outputs]
    """Computes the network's outputs in training: itself, or compiled."""
    optimiser: torch.optim.Optimizer

    def __init__(self, recipe: Recipe, setting: Setting, network: MSRN, step: int = 0) -> None:
        self.recipe, self.setting, self.step = recipe, setting, step
        self.scaler = torch.amp.GradScaler(setting.device.type, enabled=setting.precision == torch.float16)
        """Keeps fp16 gradients within their range; disabled in other precisions."""
        self.seconds = 0.0
        """Time spent training so far, over all resumptions."""
        self.best = -math.inf
        """Best mean held-out score so far, in dB."""
        self.skipped = self.skipped_in_a_row = 0
        """Steps whose loss or gradient was not finite and that changed nothing."""
        self.data = self.precision = ""
        """Hash of its images, which a resumed run must have too, and what it computes in."""
        self.origin = ""
        """The weights it began with, if it did not begin with the recipe's seed: name and SHA-256."""
        self.measured = network.config.recursions
        """How many recursions have BatchNorms with statistics of their own, or that will learn them."""
        self._train(network)

    def _train(self, network: MSRN) -> None:
        """Begin to train a network, with fresh optimiser moments."""
        device, options = self.setting.device, self.recipe.optimiser
        network = network.to(device)
        if device.type != "cpu" or "avx512f" in instructions():  # measured with AVX-512 bf16 only
            network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = self.recipe.network.batchnorm_momentum
                if self.setting.everyone.size > 1:
                    module.__class__ = SharedBatchNorm
        self.network, self.average = network, copy.deepcopy(network).requires_grad_(False)
        self.forward = network.all_outputs
        if self.setting.compiled:
            keep_compiled_code_private()
            self.forward = torch.compile(network.all_outputs, dynamic=False)
        common: dict[str, Any] = {"lr": options.rate, "weight_decay": options.weight_decay}
        if options.kind == "sgd":
            self.optimiser = torch.optim.SGD(network.parameters(), momentum=options.momentum, **common)
        else:
            self.optimiser = torch.optim.AdamW(network.parameters(), fused=True, **common)

    @property
    def is_grown(self) -> bool:
        """Whether the network already has all its recursions."""
        return self.network.config.recursions == self.recipe.network.recursions

    def grow(self) -> None:
        """Go on with all recursions: same function, fresh optimiser moments."""
        wanted = network_config(self.recipe.network)
        average = grow(self.average, wanted)
        self._train(grow(self.network, wanted))
        self.average.load_state_dict(average.state_dict())
        if not self.recipe.optimiser.frozen_at(self.step):
            self.measured = wanted.recursions
        self.skipped_in_a_row = 0

    @property
    def is_measured(self) -> bool:
        """Whether all recursions' BatchNorms have statistics of their own, or will learn them."""
        return self.measured == self.network.config.recursions

    def measure(self, batches: Sequence[Tensor]) -> None:
        """Let new recursions' BatchNorms see some degraded batches, ``(N, C, P, P)`` each, in both networks."""
        for network in (self.network, self.average):
            measure(network, self.measured, batches)
        self.measured = self.network.config.recursions

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged network towards the trained one, BatchNorm statistics included.

        The memory grows with the run up to ``ema_decay``, so that the first steps are soon forgotten.
        """
        weight = 1 - min(self.recipe.optimiser.ema_decay, (1 + self.step) / (10 + self.step))
        pairs = list(zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True))
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        counters = [pair for pair in pairs if not pair[0].is_floating_point()]  # of BatchNorm's batches
        torch._foreach_lerp_([old for old, _ in floating], [new for _, new in floating], weight)  # pyright: ignore
        torch._foreach_copy_([old for old, _ in counters], [new for _, new in counters])  # pyright: ignore

    def settle_on(self, data: str) -> None:
        """Note which images the run learns from, by their hash, and what it computes in from here on.

        Raises:
            UsageError: it began with other images.
        """
        if self.data and self.data != data:
            raise UsageError(
                "cannot resume, the training images are not those that the run began with; to train on others, publish "
                "it and begin a new run with --init-from"
            )
        if self.step and not self.data:
            logger.warning("the checkpoint is of an earlier version: whether its images were these cannot be checked")
        precision = str(self.setting.precision).removeprefix("torch.")
        if self.precision and self.precision != precision:
            logger.warning("the run computed in %s so far, and in %s from here on", self.precision, precision)
        self.data, self.precision = data, precision

    @property
    def fingerprint(self) -> str:
        """A hash of where the run is, which processes that train together must have in common."""
        known = f"{self.step} {self.data} {self.precision} {self.origin}{self.recipe.model_dump_json()}"
        hashing = hashlib.sha256(known.encode())
        for tensor in self.network.state_dict().values():
            hashing.update(tensor.cpu().contiguous().numpy().data)
        return hashing.hexdigest()

    def state(self) -> dict[str, Any]:
        """Everything a checkpoint holds, in plain values and tensors."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "step": self.step,
            "recursions": self.network.config.recursions,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            **{name: getattr(self, name) for name in _TOLD},
        }

    def take_over(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        for parameter, moments in self.optimiser.state.items():
            for name, value in moments.items():
                if value.shape == parameter.shape:  # in this machine's layout, which fused optimisers take for granted
                    moments[name] = torch.empty_like(parameter).copy_(value)
                elif value.numel() != 1:
                    raise ValueError(f"the optimiser's {name} has shape {tuple(value.shape)}")
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        for name in _TOLD:
            setattr(self, name, state.get(name, getattr(self, name)))


def start_run(recipe: Recipe, initial: Weights | None, setting: Setting) -> TrainingRun:
    """Begin a run, from ``initial`` weights or from the recipe's seed.

    Raises:
        UsageError: the weights are of another shape.
    """
    shape = recipe.network
    config = network_config(shape, recipe.growth.start if recipe.growth else None)
    if initial is not None:
        hint = " (--set growth=none begins with all recursions)" if recipe.growth else ""
        run = TrainingRun(recipe, setting, _fitted(initial, config, hint))
        if recipe.optimiser.frozen_at(0):
            run.measured = initial.card.config.recursions
        run.origin = f"{initial.name}, SHA-256 {initial.sha256}"
        return run
    network = MSRN(config)
    weight = 1 / shape.memory_blocks if shape.ensemble_start is None else shape.ensemble_start
    initialise(network, torch.Generator().manual_seed(recipe.seed), weight, shape.zero_residual)
    return TrainingRun(recipe, setting, network)


def resume_run(state: dict[str, Any], recipe: Recipe | None, setting: Setting) -> TrainingRun:
    """Go on from a checkpoint's state, with its own recipe or another that makes the same of the first steps.

    Raises:
        UsageError: the recipe differs from the checkpoint's in more than may change; the fields are named.
        WeightsError: the state is none that a run leaves.
    """
    step, recursions = state["step"], state["recursions"]
    try:
        own = validate(state["recipe"], "of the checkpoint")
        if not 1 <= recursions <= own.network.recursions or not 0 <= step <= own.optimiser.steps:
            raise UsageError(f"its recipe has no step {step} with {recursions} recursions")
        config = network_config(own.network, recursions)
        for part in ("network", "average"):  # before anything of the size that the recipe claims is made
            if {name: tuple(tensor.shape) for name, tensor in state[part].items()} != tensors_of(config):
                raise UsageError(f"its {part} is not one of {config.shape}")
    except (UsageError, AttributeError) as error:
        raise WeightsError(f"the checkpoint is none that a run leaves: {error}") from error
    if recipe is not None and (changed := forbidden_changes(own, recipe, step)):
        raise UsageError("cannot resume, the recipe has changed: " + "; ".join(changed))
    run = TrainingRun(recipe or own, setting, MSRN(config), step)
    try:
        run.take_over(state)
    except Exception as error:  # hostile bytes have many ways
        said = " ".join(str(error).split())
        raise WeightsError(f"the checkpoint of step {step} is none that a run leaves: {said}") from error
    return run


def read_run(path: Path) -> TrainingRun:
    """Read a checkpoint file as a run on the CPU, for publishing and inspection.

    Raises:
        WeightsError: it is missing, damaged, or not a checkpoint.
    """
    return resume_run(checkpoint.load(path), None, Setting())


def forbidden_changes(old: Recipe, new: Recipe, step: int) -> list[str]:
    """Name the fields, as ``section.key: old -> new``, by which ``new`` would have made the first steps differently.

    What may change is how often a run is saved and scored, and the schedule from ``step`` on.
    """
    if old == new:
        return []
    free = {key: getattr(new, key) for key in ("checkpoint_minutes", "evaluate_every", "keep")}
    prolonged = old.model_copy(update=free | {"optimiser": _prolonged(old.optimiser, new.optimiser, step)})
    before, after = _flat(prolonged.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    return [
        f"{key}: {json.dumps(before.get(key))} -> {json.dumps(after.get(key))}"
        for key in sorted(before | after)
        if before.get(key) != after.get(key)
    ]


def _prolonged(old: OptimiserRecipe, new: OptimiserRecipe, step: int) -> OptimiserRecipe:
    """Take the rest of the schedule over from ``new``, if the steps already made stay as they were."""
    if (old.schedule, old.decay_factor) != (new.schedule, new.decay_factor):
        return old
    keys = ("steps", "decay_steps", "freeze_batchnorm_step")
    options = old.model_copy(update={key: getattr(new, key) for key in keys})
    same_rate = all(options.rate_at(at) == old.rate_at(at) for at in range(step + 1))
    same_freeze = all(options.frozen_at(at) == old.frozen_at(at) for at in range(step))
    return options if same_rate and same_freeze else old


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one, with keys such as ``section.key``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def network_config(shape: NetworkRecipe, recursions: int | None = None) -> MSRNConfig:
    """The network that a recipe ends with, or with other recursions while it grows."""
    values = shape.model_dump(include=set(MSRNConfig.__dataclass_fields__))
    values["recursions"] = recursions or shape.recursions
    return MSRNConfig(**values)


def _fitted(initial: Weights, wanted: MSRNConfig, hint: str) -> MSRN:
    """The network of some weights, grown to the shape that is wanted."""
    if wrong := misfits(initial.card.config, wanted):
        raise UsageError(f"{initial.name} does not fit the recipe's network: {wrong}{hint}")
    return grow(build(initial), wanted)
