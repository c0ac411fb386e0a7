"""A network made larger that computes the same as before: where training a larger one begins.

What is added has no say at first: what reads it has weights of zero, or it hands on what it gets. Training changes
that, and goes on from all that the smaller network learned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from msrn.errors import UsageError
from msrn.images.color import LUMINANCE
from msrn.network.config import MSRNConfig
from msrn.network.memnet import MSRN, MemoryBlock

GROWING = "recursions", "channels", "memory_blocks", "in_channels"
"""What of a network's shape can become larger."""


def grow(network: MSRN, wanted: MSRNConfig) -> MSRN:
    """Return a new network, of a larger shape or the same, that computes the same function and can be trained.

    Args:
        network: its recursions share their convolutions. It is left as it is.
        wanted: at least as large in all of :data:`GROWING`, and equal in the rest.

    Raises:
        UsageError: the shape is smaller in something, differs in something else, or the recursions share nothing.

    Example:
        >>> grow(MSRN(MSRNConfig(4, 1, 64)), MSRNConfig(6, 2, 96)).config.shape
        'M6R2C96'
    """
    if wrong := misfits(network.config, wanted):
        raise UsageError(f"{network.config.shape} cannot grow into {wanted.shape}: {wrong}")
    if not network.config.shared or network.config.units > 1:
        shape = network.config.shape
        raise UsageError(f"{shape} cannot grow: only a network whose recursions share their unit can")
    with torch.no_grad():
        grown = _with_recursions(network, wanted.recursions)
        grown = _widened(grown, wanted.channels)
        grown = _deepened(grown, wanted.memory_blocks)
        return grown if grown.config == wanted else _colored(grown)


@torch.no_grad()
def measure(network: MSRN, recursions: int, batches: Sequence[Tensor]) -> None:
    """Give the BatchNorms of new recursions the statistics of what they see; at first they have the last older one's.

    What recursions hand on grows from one to the next. Where BatchNorms are frozen, copies would stay wrong for good,
    and new recursions of little use. A network that has just grown computes the same function before and after.

    Args:
        network: changed in place, and left in evaluation mode.
        recursions: how many it had before it grew.
        batches: of degraded patches, ``(N, C, H, W)`` each, as it is trained on.

    Example:
        >>> grown = grow(network, replace(network.config, recursions=3))
        >>> measure(grown, network.config.recursions, [patches])
    """
    blocks = [cast(MemoryBlock, block) for block in network.blocks]
    gates = [block.gate_norm for block in blocks]
    kept = [[value.clone() for value in _statistics(norm)] for norm in gates]
    added = [norm for block in blocks for norm in (*block.norm1[recursions:], *block.norm2[recursions:])]
    norms = [cast(nn.BatchNorm2d, norm) for norm in (*added, *gates)]
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for number, batch in enumerate(batches, start=1):
        for norm in norms:
            norm.train()
            norm.momentum = 1 / number  # so that each batch counts alike
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for m, (norm, old) in enumerate(zip(gates, kept, strict=True), start=1):
        known = network.config.channels * (m + recursions)  # of long-term memories and older recursions
        for value, before in zip(_statistics(norm), old, strict=True):
            value[:known] = before[:known]
    network.eval()


def _statistics(norm: nn.BatchNorm2d) -> list[Tensor]:
    """The running mean and variance."""
    return [cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)]


def misfits(config: MSRNConfig, wanted: MSRNConfig) -> str:
    """Say in what a shape cannot become another, as ``network.key: old -> new; ...``; empty if it can."""
    old = vars(config)
    wrong = {key: new for key, new in vars(wanted).items() if (old[key] > new if key in GROWING else old[key] != new)}
    return "; ".join(f"network.{key}: {old[key]} -> {new}" for key, new in wrong.items())


def _with_recursions(network: MSRN, recursions: int) -> MSRN:
    """Apply each block's convolutions more often.

    They are shared, so they carry over as they are. Each new recursion takes a copy of the last one's BatchNorms, and
    the gate's weights for its memory start at zero. :func:`measure` gives it statistics of its own.
    """
    config = network.config
    extra = recursions - config.recursions
    state = network.state_dict()
    grown = MSRN(replace(config, recursions=recursions))
    for key in grown.state_dict():
        if key not in state:
            head, norm, _, leaf = key.rsplit(".", 3)  # blocks.M.norm1.<new recursion>.weight
            state[key] = state[f"{head}.{norm}.{config.recursions - 1}.{leaf}"]
    for m in range(config.memory_blocks):
        # New short-term memories come last in the gate's concatenation.
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            key = f"blocks.{m}.gate_norm.{leaf}"
            state[key] = torch.cat([state[key], *[state[key][-config.channels :]] * extra])
        key = f"blocks.{m}.gate.weight"
        old = state[key]  # (C, C·(m+R), 1, 1)
        state[key] = torch.cat([old, old.new_zeros(old.shape[0], extra * config.channels, 1, 1)], dim=1)
    return _loaded(grown, state, network)


def _widened(network: MSRN, channels: int) -> MSRN:
    """Add channels to every feature map, with weights drawn as a new network's, that no older channel reads yet."""
    before = network.config.channels
    grown = MSRN(replace(network.config, channels=channels))
    state = grown.state_dict()
    for key, old in network.state_dict().items():
        if old.shape == state[key].shape:
            state[key] = old
            continue
        kept = [
            _places(length, before, channels) if length != now else torch.arange(length)
            for length, now in zip(old.shape[:2], state[key].shape[:2], strict=True)
        ]
        if len(kept) == 1:
            state[key][kept[0]] = old
        else:
            state[key][kept[0]] = 0
            state[key][kept[0][:, None], kept[1]] = old
    return _loaded(grown, state, network)


def _places(length: int, before: int, channels: int) -> Tensor:
    """Where the channels of one or several feature maps after each other are when each map has more."""
    return (torch.arange(length // before)[:, None] * channels + torch.arange(before)).flatten()


def _deepened(network: MSRN, memory_blocks: int) -> MSRN:
    """Add memory blocks at the end that hand on the last memory, and give each an equal part of the last w_m.

    Their residual units add nothing yet, as their second convolutions are zero. A gate has a ReLU before it, which lets
    the positive part of one copy of the memory pass, and the negative part of another: x = ReLU(x) - ReLU(-x).
    """
    config = network.config
    old, last = network.state_dict(), config.memory_blocks - 1
    newest = f"reconstruct_norm.{last if config.multi_supervised else 0}"  # it knows the last memory's statistics
    norm = {leaf: old[f"{newest}.{leaf}"] for leaf in ("running_mean", "running_var")}
    grown = MSRN(replace(config, memory_blocks=memory_blocks))
    state = grown.state_dict() | {key: value for key, value in old.items() if key != "ensemble"}
    for m in range(config.memory_blocks, memory_blocks):
        block = f"blocks.{m}"
        for leaf, value in norm.items():
            for r in range(config.recursions):
                state[f"{block}.norm1.{r}.{leaf}"] = value
            known = old[f"blocks.{last}.gate_norm.{leaf}"][: config.memory_blocks * config.channels]  # B_0 and after
            further = m + 1 - config.memory_blocks + config.recursions
            state[f"{block}.gate_norm.{leaf}"] = torch.cat([known, *[value] * further])
        state[f"{block}.conv2.weight"].zero_()
        deviation = torch.sqrt(norm["running_var"] + grown.extract_norm.eps)
        state[f"{block}.gate.weight"].zero_()
        end = config.channels * (m + 1)  # of the last memory, which the last recursion repeats
        for sign, part in (1, slice(end - config.channels, end)), (-1, slice(-config.channels, None)):
            state[f"{block}.gate_norm.weight"][part] = sign * deviation
            state[f"{block}.gate_norm.bias"][part] = sign * norm["running_mean"]
            state[f"{block}.gate.weight"][:, part, 0, 0] = sign * torch.eye(config.channels)
        if config.multi_supervised:
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                state[f"reconstruct_norm.{m}.{leaf}"] = old[f"{newest}.{leaf}"]
    if config.multi_supervised:
        parts = memory_blocks - last
        state["ensemble"] = torch.cat([old["ensemble"][:last], old["ensemble"][last:].repeat(parts) / parts])
    return _loaded(grown, state, network)


def _colored(network: MSRN) -> MSRN:
    """Read luminance (ITU-R BT.601) of R, G and B, and add to each channel what the network would add to that."""
    colored = MSRN(replace(network.config, in_channels=3))
    state = network.state_dict()
    for key, tensor in state.items():
        if key.startswith(("extract_norm.", "reconstruct.")) and tensor.ndim:
            state[key] = torch.cat([tensor] * 3)
    weight = state["extract.weight"]  # (C, s², 3, 3) to (C, 3·s², 3, 3)
    state["extract.weight"] = torch.cat([share * weight for share in LUMINANCE], dim=1)
    return _loaded(colored, state, network)


def _loaded(grown: MSRN, state: Mapping[str, Tensor], network: MSRN) -> MSRN:
    grown.load_state_dict(state)
    return grown.train(network.training)
