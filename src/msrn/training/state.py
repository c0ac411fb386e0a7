"""A training run: its state, how it starts, grows, is saved and goes on."""

import copy
import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from msrn.errors import UsageError
from msrn.network.config import MSRNConfig
from msrn.network.memnet import MSRN, Outputs, build, grow, initialise
from msrn.restoration.backends.pytorch import keep_compiled_code_private
from msrn.system.machine import instructions
from msrn.training import checkpoint
from msrn.training.distributed import share_batchnorms
from msrn.training.recipe import NetworkRecipe, OptimiserRecipe, Recipe, forbidden_changes
from msrn.training.recipe_file import validate
from msrn.training.setting import Setting

if TYPE_CHECKING:
    from msrn.network.weights import Weights

logger = logging.getLogger(__name__)
_COUNTERS = ("seconds", "best", "skipped", "skipped_in_a_row")
_TOLD = ("data", "precision", "origin")


@dataclass
class TrainingRun:
    """What changes while training."""

    step: int
    network: MSRN
    average: MSRN
    """Exponential moving average of the network: the one that is evaluated and published."""
    forward: Callable[[Tensor], Outputs]
    """Computes the network's outputs in training: itself, or compiled."""
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
    """Hash of its images, which a resumed run must have too."""
    precision: str = ""
    """That it computes in."""
    origin: str = ""
    """The weights it began with, if it did not begin with the recipe's seed: name and SHA-256."""

    @property
    def ensemble(self) -> list[float]:
        """The averaged network's weights w_m; none of the basic variant."""
        return self.average.ensemble.tolist() if self.average.config.multi_supervised else []

    @property
    def fingerprint(self) -> str:
        """A hash of where the run is, which processes that train together must have in common."""
        hashing = hashlib.sha256(f"{self.step} {self.data} {self.precision} {self.origin}".encode())
        for tensor in self.network.state_dict().values():
            hashing.update(tensor.cpu().contiguous().numpy().data)
        return hashing.hexdigest()


def start_run(recipe: Recipe, initial: "Weights | None", setting: Setting) -> TrainingRun:
    """Begin a run, from ``initial`` weights or from the recipe's seed.

    Raises:
        UsageError: the weights are of another shape.
    """
    shape = recipe.network
    config = network_config(shape, recipe.growth.start if recipe.growth else None)
    if initial is not None:
        hint = " (--set growth=none begins with all recursions)" if recipe.growth else ""
        run = _assemble(0, _fitted(initial, config, hint), shape, recipe.optimiser, setting)
        return replace(run, origin=f"{initial.name}, SHA-256 {initial.sha256}")
    network = MSRN(config)
    weight = 1 / shape.memory_blocks if shape.ensemble_start is None else shape.ensemble_start
    initialise(network, torch.Generator().manual_seed(recipe.seed), weight, shape.zero_residual)
    return _assemble(0, network, shape, recipe.optimiser, setting)


def grow_run(run: TrainingRun, shape: NetworkRecipe, options: OptimiserRecipe, setting: Setting) -> TrainingRun:
    """Go on with all recursions: same function, fresh optimiser moments."""
    bigger = _assemble(run.step, grow(run.network, shape.recursions), shape, options, setting)
    bigger.average.load_state_dict(grow(run.average, shape.recursions).state_dict())
    kept = {name: getattr(run, name) for name in ("scaler", "seconds", "skipped", *_TOLD)}
    return replace(bigger, **kept)


def resume_run(state: dict[str, Any], recipe: Recipe, setting: Setting) -> TrainingRun:
    """Go on from a checkpoint's state.

    Raises:
        UsageError: the recipe differs from the checkpoint's in more than may change; the fields are named.
    """
    changed = forbidden_changes(validate(state["recipe"], "of the checkpoint"), recipe, state["step"])
    if changed:
        raise UsageError("cannot resume, the recipe has changed: " + "; ".join(changed))
    network = MSRN(network_config(recipe.network, state["recursions"]))
    run = _assemble(state["step"], network, recipe.network, recipe.optimiser, setting)
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


def is_grown(run: TrainingRun, shape: NetworkRecipe) -> bool:
    """Whether the network already has all its recursions."""
    return run.network.config.recursions == shape.recursions


def settle_on(run: TrainingRun, data: str, precision: torch.dtype) -> None:
    """Note which images a run learns from, by their hash, and what it computes in.

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


def state_of(run: TrainingRun, recipe: Recipe) -> dict[str, Any]:
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


def read_run(path: Path) -> tuple[Recipe, TrainingRun]:
    """Read a checkpoint file as (recipe, run) on the CPU, for publishing and inspection."""
    state = checkpoint.load(path)
    recipe = validate(state["recipe"], str(path))
    return recipe, resume_run(state, recipe, Setting())


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


def network_config(shape: NetworkRecipe, recursions: int | None = None) -> MSRNConfig:
    """The network a recipe ends with, or with other recursions while it grows."""
    return MSRNConfig(
        shape.memory_blocks,
        recursions or shape.recursions,
        shape.channels,
        shape.in_channels,
        shape.multi_supervised,
        shape.unshuffle,
    )


def _fitted(initial: "Weights", wanted: MSRNConfig, hint: str) -> MSRN:
    """The network of some weights, with as many recursions as are wanted."""
    given = initial.card.config
    ours = vars(replace(given, recursions=min(given.recursions, wanted.recursions)))
    other = {key: value for key, value in vars(wanted).items() if key != "recursions" and value != ours[key]}
    if given.recursions > wanted.recursions:
        other["recursions"] = wanted.recursions
    if other:
        differing = "; ".join(f"network.{key}: {vars(given)[key]} -> {value}" for key, value in other.items())
        raise UsageError(f"{initial.name} does not fit the recipe's network: {differing}{hint}")
    return grow(build(initial), wanted.recursions)


def _assemble(
    step: int, network: MSRN, shape: NetworkRecipe, options: OptimiserRecipe, setting: Setting
) -> TrainingRun:
    device = setting.device
    network = network.to(device)
    if device.type != "cpu" or "avx512f" in instructions():  # measured with AVX-512 bf16 only
        network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = shape.batchnorm_momentum
    if setting.everyone.size > 1:
        share_batchnorms(network)
    average = copy.deepcopy(network).requires_grad_(False)
    scaler = torch.amp.GradScaler(device.type, enabled=setting.precision == torch.float16)
    if setting.compiled:
        keep_compiled_code_private()
    forward = torch.compile(network.all_outputs, dynamic=False) if setting.compiled else network.all_outputs
    return TrainingRun(step, network, average, forward, _optimiser(network, options), scaler)


def _optimiser(network: MSRN, options: OptimiserRecipe) -> torch.optim.Optimizer:
    parameters, rate, decay = network.parameters(), options.rate, options.weight_decay
    if options.kind == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=options.momentum, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
