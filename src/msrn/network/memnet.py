"""The persistent memory network: Tai, Yang, Liu, Xu, "MemNet: A Persistent Memory Network for Image
Restoration", ICCV 2017 (arXiv 1708.02209). The project calls it MSRN.

Not to be confused with the Multi-scale Residual Network (Li et al., ECCV 2018), which the field also
abbreviates MSRN.

With x the (already enlarged) degraded image, M memory blocks and R recursions::

    B_0 = fext(x)                                    feature extraction, section 3.1
    H_0 = B_{m-1},  H_r = unit(H_{r-1})              recursive unit, eqs. (5)-(6)
    B_m = gate([B_0 ... B_{m-1}, H_1 ... H_R])       gate unit, eqs. (7)-(9)
    y_m = x + recon(B_m)                             reconstruction, global residual
    y   = sum_m w_m y_m                              multi-supervised ensemble, eq. (11)

Every convolution is pre-activated: BatchNorm, ReLU, convolution. Inside a block the two convolutions are
shared by all recursions, but each recursion has two BatchNorms of its own; blocks share nothing. The
reconstruction convolution is shared by all outputs, its BatchNorm is not.

Tensors are ``(N, C, H, W)``, values in [0, 1]; see ``picture.py`` for the contract outside the network.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from msrn.errors import UsageError
from msrn.network import hub
from msrn.network.config import MSRNConfig
from msrn.network.weights import Card, Weights


class Outputs(NamedTuple):
    """What :meth:`MSRN.all_outputs` returns; every image is ``(N, in_channels, H, W)``."""

    ensemble: Tensor
    """The final image: the weighted sum of the intermediate ones, or the only one of the basic variant."""
    intermediate: list[Tensor]
    """One image per prediction: M of them, or one for the basic variant."""


class MemoryBlock(nn.Module):
    """A recursive unit followed by a gate unit; takes B_0 ... B_{m-1}, returns B_m, all ``(N, C, H, W)``."""

    def __init__(self, config: MSRNConfig, long_term: int) -> None:
        super().__init__()
        channels = config.channels
        memories = channels * (long_term + config.recursions)
        self.units = config.units
        self.norm1 = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(config.applications))
        self.conv1 = _convolutions(config)
        self.norm2 = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(config.applications))
        self.conv2 = _convolutions(config)
        self.gate_norm = nn.BatchNorm2d(memories)
        self.gate = nn.Conv2d(memories, channels, 1)

    def forward(self, long_term: list[Tensor]) -> Tensor:
        """Apply the recursions to the newest memory, then gate all memories."""
        hidden = long_term[-1]
        short_term: list[Tensor] = []
        for k, (norm1, norm2) in enumerate(zip(self.norm1, self.norm2, strict=True), start=1):
            residual = _pair(self.conv1, k - 1)(F.relu(norm1(hidden)))
            hidden = hidden + _pair(self.conv2, k - 1)(F.relu(norm2(residual)))
            if k % self.units == 0:
                short_term.append(hidden)
        memories = torch.cat([*long_term, *short_term], dim=1)  # (N, C·(m+R), H, W)
        return self.gate(F.relu(self.gate_norm(memories)))


def _convolutions(config: MSRNConfig) -> nn.Module:
    """The convolution that a block's recursions share, or, where it has several, a list of them."""
    made = [nn.Conv2d(config.channels, config.channels, 3, padding=1) for _ in range(config.pairs)]
    return made[0] if config.pairs == 1 else nn.ModuleList(made)


def _pair(convolutions: nn.Module, application: int) -> nn.Module:
    """The convolution that one application of a residual unit uses."""
    if isinstance(convolutions, nn.ModuleList):
        return convolutions[application % len(convolutions)]
    return convolutions


class MSRN(nn.Module):
    """The network of section 3; the parameters are initialised as in section 4 (see :func:`initialise`)."""

    def __init__(self, config: MSRNConfig) -> None:
        super().__init__()
        self.config = config
        self.card: Card | None = None
        """What the weights file said that it was built from."""
        self.built_as = ""
        """Digest of what it computed then."""
        channels = config.channels
        outputs = config.memory_blocks if config.multi_supervised else 1
        self.extract_norm = nn.BatchNorm2d(config.depth)
        self.extract = nn.Conv2d(config.depth, channels, 3, padding=1)
        self.blocks = nn.ModuleList(MemoryBlock(config, long_term=m + 1) for m in range(config.memory_blocks))
        self.reconstruct_norm = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(outputs))
        self.reconstruct = nn.Conv2d(channels, config.depth, 3, padding=1)
        if config.multi_supervised:
            self.ensemble = nn.Parameter(torch.ones(config.memory_blocks))
        initialise(self, torch.Generator().manual_seed(0))

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch: ``(N, in_channels, H, W)`` in [0, 1] to the same shape, not clipped."""
        return self.all_outputs(x).ensemble

    def all_outputs(self, x: Tensor) -> Outputs:
        """Restore a batch and also return the image predicted after every memory block."""
        s, (height, width) = self.config.unshuffle, x.shape[2:]
        if s > 1:  # squares of s×s pixels become one pixel each, (N, C·s², ⌈H/s⌉, ⌈W/s⌉)
            if height % s or width % s:
                x = F.pad(x, (0, -width % s, 0, -height % s), mode="replicate")
            x = F.pixel_unshuffle(x, s)
        memories = [self.extract(F.relu(self.extract_norm(x)))]
        for block in self.blocks:
            memories.append(block(memories))
        predicting = memories[1:] if self.config.multi_supervised else memories[-1:]
        images: list[Tensor] = []
        for norm, memory in zip(self.reconstruct_norm, predicting, strict=True):
            image = x + self.reconstruct(F.relu(norm(memory)))
            images.append(image if s == 1 else F.pixel_shuffle(image, s)[..., :height, :width])
        if not self.config.multi_supervised:
            return Outputs(images[-1], images)
        stacked = torch.stack(images)  # (M, N, in_channels, H, W)
        return Outputs(torch.einsum("m,mnchw->nchw", self.ensemble, stacked), images)

    @classmethod
    def from_pretrained(cls, source: str | Path, **options: Any) -> "MSRN":
        """The network of weights by catalogue name, from a file or folder, or from the hub, in evaluation mode.

        Options and errors are those of :func:`msrn.network.hub.from_pretrained`.

        Example:
            >>> MSRN.from_pretrained("organisation/name", revision="<commit>", sha256="<digest>")
        """
        return build(hub.from_pretrained(source, **options))

    def push_to_hub(self, repository: str, card: Card | None = None, **options: Any) -> str:
        """Upload the network as a weights file with a generated page; return the commit.

        Args:
            repository: ``organisation/name``.
            card: what it was made for and of; not needed for a network that is still as it was loaded.
            options: those of :func:`msrn.network.hub.push`, which tells the errors too.

        Raises:
            UsageError: the network is new, or was changed since, and its scores are no longer those of its card.
        """
        weights = None if self.card is None else Weights(self.card, arrays_of(self), repository)
        if card is not None:
            weights = Weights(card, arrays_of(self), repository)
        elif weights is None or weights.content != self.built_as:
            raise UsageError("the network is new or was changed since it was loaded: give a card that describes it")
        return hub.push(weights, repository, **options)


def initialise(
    network: MSRN, generator: torch.Generator, ensemble_weight: float = 1.0, zero_residual: bool = False
) -> None:
    """Draw all parameters anew: He's normal (fan-in) for weights, zero biases, unit BatchNorms.

    Args:
        network: changed in place.
        generator: the only source of randomness.
        ensemble_weight: where each w_m starts. The authors' Caffe layer starts at 1, which makes the first
            ensemble M times too bright; 1/M starts at the mean of the predictions.
        zero_residual: start the reconstruction at zero instead, so that every y_m starts as the input.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    if zero_residual:
        nn.init.zeros_(network.reconstruct.weight)
    if network.config.multi_supervised:
        nn.init.constant_(network.ensemble, ensemble_weight)


def build(weights: Weights) -> MSRN:
    """Return the network of a weights file, in evaluation mode, without gradients, on the CPU.

    Example:
        >>> network = build(msrn.network.weights.load("msrn-m4r1s2-sr"))
        >>> network(torch.rand(1, 1, 32, 48)).shape
        torch.Size([1, 1, 32, 48])
    """
    network = MSRN(weights.card.config)
    network.load_state_dict({key: torch.from_numpy(array.copy()) for key, array in weights.arrays.items()})
    network.card = weights.card
    network.built_as = Weights(weights.card, arrays_of(network), weights.name).content
    return network.eval().requires_grad_(False)


def arrays_of(network: MSRN) -> dict[str, NDArray[Any]]:
    """Return a copy of a network's tensors, by name, as a weights file holds them."""
    return {key: tensor.detach().cpu().numpy().copy() for key, tensor in network.state_dict().items()}
