"""A training run: its state, how it starts, grows, is saved and goes on."""

import copy
import hashlib
import logging
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from msrn.errors import UsageError
from msrn.network.config import MSRNConfig
from msrn.network.memnet import MSRN, grow, initialise
from msrn.system.machine import has_bf16, instructions
from msrn.training import checkpoint
from msrn.training.distributed import World, share_batchnorms
from msrn.training.recipe import NetworkRecipe, OptimiserRecipe, Recipe, differences, validate

if TYPE_CHECKING:
    from msrn.network.weights import Weights

logger = logging.getLogger(__name__)
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_COUNTERS = ("seconds", "best", "skipped", "skipped_in_a_row")
_TOLD = ("data", "precision", "origin")


@dataclass(frozen=True)
class Setting:
    """Where and how a run computes; not part of what it computes."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: torch.dtype = torch.float32
    everyone: World = field(default_factory=World)


@dataclass
class Run:
    """What changes while training."""

    step: int
    network: MSRN
    average: MSRN
    """Exponential moving average of the network: the one that is evaluated and published."""
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    """Keeps fp16 gradients within their range; disabled in other precisions."""
    seconds: float = 0.0
    """Time spent training so far, over all resumptions."""
    best: float = -math.inf
    """Best mean held-out score so far, in dB."""
    skipped: int = 0
    """Steps whose loss or gradient was not finite and that changed nothing."""
    skipped_in_a_row: int = 0
    data: str = ""
    """Hash of its images, see :func:`go_on_with`."""
    precision: str = ""
    """That it computes in."""
    origin: str = ""
    """The weights it began with, if it did not begin with the recipe's seed: name and SHA-256."""


def start(recipe: Recipe, initial: "Weights | None", setting: Setting) -> Run:
    """Begin a run, from ``initial`` weights or from the recipe's seed.

    Raises:
        UsageError: the weights are of another shape.
    """
    wanted = network_config(recipe.network, recipe.growth.start if recipe.growth else None)
    origin = ""
    if initial is None:
        network = MSRN(wanted)
        start = recipe.network.ensemble_start
        weight = 1 / recipe.network.memory_blocks if start is None else start
        generator = torch.Generator().manual_seed(recipe.seed)
        initialise(network, generator, weight, recipe.network.zero_residual)
    else:
        given = initial.network.config
        ours = vars(replace(given, recursions=min(given.recursions, wanted.recursions)))
        other = {key: value for key, value in vars(wanted).items() if key != "recursions" and value != ours[key]}
        if given.recursions > wanted.recursions:
            other["recursions"] = wanted.recursions
        if other:
            differing = "; ".join(f"network.{key}: {vars(given)[key]} -> {value}" for key, value in other.items())
            hint = " (--set growth=none begins with all recursions)" if recipe.growth else ""
            raise UsageError(f"{initial.name} does not fit the recipe's network: {differing}{hint}")
        network = grow(initial.network, wanted.recursions)
        origin = f"{initial.name}, SHA-256 {initial.sha256}"
    return replace(_assemble(0, network, recipe, setting), origin=origin)


def is_grown(run: Run, recipe: Recipe) -> bool:
    """Whether the network already has all its recursions."""
    return run.network.config.recursions == recipe.network.recursions


def grown(run: Run, recipe: Recipe, setting: Setting) -> Run:
    """Go on with all recursions: same function, fresh optimiser moments."""
    bigger = _assemble(run.step, grow(run.network, recipe.network.recursions), recipe, setting)
    bigger.average.load_state_dict(grow(run.average, recipe.network.recursions).state_dict())
    kept = {name: getattr(run, name) for name in ("scaler", "seconds", "skipped", *_TOLD)}
    return replace(bigger, **kept)


def restore(state: dict[str, Any], recipe: Recipe, setting: Setting) -> Run:
    """Go on from a checkpoint's state.

    Raises:
        UsageError: the recipe differs from the checkpoint's in more than may change; the fields are named.
    """
    changed = differences(_prolonged(validate(state["recipe"], "of the checkpoint"), recipe, state["step"]), recipe)
    if changed:
        raise UsageError("cannot resume, the recipe has changed: " + "; ".join(changed))
    run = _assemble(state["step"], MSRN(network_config(recipe.network, state["recursions"])), recipe, setting)
    run.network.load_state_dict(state["network"])
    run.average.load_state_dict(state["average"])
    run.optimiser.load_state_dict(state["optimiser"])
    for parameter, moments in run.optimiser.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:  # in the layout of this machine, which fused optimisers take for granted
                moments[name] = torch.empty_like(parameter).copy_(value)
    if state["scaler"] and run.scaler.is_enabled():
        run.scaler.load_state_dict(state["scaler"])
    for name in _COUNTERS:
        setattr(run, name, state[name])
    for name in _TOLD:
        setattr(run, name, state.get(name, ""))  # checkpoints of old do not tell
    return run


def go_on_with(run: Run, data: str, precision: torch.dtype) -> None:
    """Settle on images and precision.

    Raises:
        UsageError: the run began with other images.
    """
    if run.data and run.data != data:
        raise UsageError(
            "cannot resume, the training images are not those that the run began with; to train on others, publish it "
            "and begin a new run with --init-from"
        )
    if run.step and not run.data:
        logger.warning("the checkpoint is of an earlier version: whether its images were these cannot be checked")
    name = str(precision).removeprefix("torch.")
    if run.precision and run.precision != name:
        logger.warning("the run computed in %s so far, and in %s from here on", run.precision, name)
    run.data, run.precision = data, name


def identity_of(run: Run) -> str:
    """What processes that train together must have in common: a hash of where they are."""
    hashing = hashlib.sha256(f"{run.step} {run.data} {run.precision} {run.origin}".encode())
    for tensor in run.network.state_dict().values():
        hashing.update(tensor.cpu().contiguous().numpy().data)
    return hashing.hexdigest()


def read_run(path: Path) -> tuple[Recipe, Run]:
    """Read a checkpoint file as (recipe, run) on the CPU, for publishing and inspection."""
    state = checkpoint.load(path)
    recipe = validate(state["recipe"], str(path))
    return recipe, restore(state, recipe, Setting())


def state_of(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Everything a checkpoint holds, in plain values and tensors."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "step": run.step,
        "recursions": run.network.config.recursions,
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "scaler": run.scaler.state_dict(),
        **{name: getattr(run, name) for name in (*_COUNTERS, *_TOLD)},
    }


def choose_training_precision(device: torch.device, name: str) -> torch.dtype:
    """Return the computing type for training; ``auto`` is bf16 where the machine multiplies it faster than fp32.

    Raises:
        UsageError: no such precision.
    """
    if name == "auto":
        name = "bf16" if device.type == "cuda" or (device.type == "cpu" and has_bf16()) else "fp32"
    if name not in _PRECISIONS:
        raise UsageError(f"unknown precision {name!r}; known: auto, {', '.join(_PRECISIONS)}")
    return _PRECISIONS[name]


@torch.no_grad()
def update_average(average: MSRN, network: MSRN, step: int, decay: float) -> None:
    """Move the averaged network towards the trained one, BatchNorm statistics included.

    The memory grows with the run up to ``decay``, so that the first steps are soon forgotten.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    floating = [pair for pair in pairs if pair[0].is_floating_point()]
    counters = [pair for pair in pairs if not pair[0].is_floating_point()]  # of BatchNorm's batches
    torch._foreach_lerp_([old for old, _ in floating], [new for _, new in floating], weight)  # pyright: ignore
    torch._foreach_copy_([old for old, _ in counters], [new for _, new in counters])  # pyright: ignore


def network_config(recipe: NetworkRecipe, recursions: int | None = None) -> MSRNConfig:
    """The network a recipe ends with, or with other recursions while it grows."""
    return MSRNConfig(
        recipe.memory_blocks,
        recursions or recipe.recursions,
        recipe.channels,
        recipe.in_channels,
        recipe.multi_supervised,
        recipe.unshuffle,
    )


def _assemble(step: int, network: MSRN, recipe: Recipe, setting: Setting) -> Run:
    device = setting.device
    network = network.to(device)
    if device.type != "cpu" or "avx512f" in instructions():  # measured on kind D only
        network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = recipe.network.batchnorm_momentum
    if setting.everyone.size > 1:
        share_batchnorms(network)
    average = copy.deepcopy(network).requires_grad_(False)
    scaler = torch.amp.GradScaler(device.type, enabled=setting.precision == torch.float16)
    return Run(step, network, average, _optimiser(network, recipe.optimiser), scaler)


def _optimiser(network: MSRN, options: OptimiserRecipe) -> torch.optim.Optimizer:
    parameters, rate, decay = network.parameters(), options.rate, options.weight_decay
    if options.kind == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=options.momentum, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)


def _prolonged(old: Recipe, new: Recipe, step: int) -> Recipe:
    """Take over from ``new`` what may change without changing the steps already made."""
    free = {key: getattr(new, key) for key in ("checkpoint_minutes", "evaluate_every", "keep")}
    keys = ("steps", "decay_steps", "freeze_batchnorm_step")
    if (old.optimiser.schedule, old.optimiser.decay_factor) != (new.optimiser.schedule, new.optimiser.decay_factor):
        return old.model_copy(update=free)
    options = old.optimiser.model_copy(update={key: getattr(new.optimiser, key) for key in keys})
    same_rate = all(options.rate_at(at) == old.optimiser.rate_at(at) for at in range(step + 1))
    same_freeze = all(options.frozen_at(at) == old.optimiser.frozen_at(at) for at in range(step))
    if not (same_rate and same_freeze):
        options = old.optimiser
    return old.model_copy(update={"optimiser": options, **free})
