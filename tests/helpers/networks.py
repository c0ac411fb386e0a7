"""What several tests share: networks that need no training."""

import torch
from torch.nn import functional as F

from msrn.network.config import MSRNConfig
from msrn.network.graph import Graph, fuse
from msrn.network.memnet import MSRN, arrays_of
from msrn.network.weights import Card, Weights
from msrn.restoration.backends.pytorch import TorchOperations, as_tensors
from msrn.types import Task


def random_network(config: MSRNConfig, seed: int = 0) -> MSRN:
    """A network in evaluation mode whose BatchNorms are not the identity and whose signals stay moderate."""
    generator = torch.Generator().manual_seed(seed)
    network = MSRN(config)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.3, 0.6),
                (module.bias, -0.1, 0.3),
                (module.running_mean, -0.1, 0.1),
                (module.running_var, 0.8, 1.2),
            ):
                assert tensor is not None
                tensor.data.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
        elif isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            module.bias.data.copy_(0.02 * torch.randn(module.bias.shape, generator=generator))
    if config.multi_supervised:
        torch.nn.init.constant_(network.ensemble, 1 / config.memory_blocks)
    return network.eval().requires_grad_(False)


def identity_network(config: MSRNConfig | None = None) -> MSRN:
    """A network that returns its input."""
    network = random_network(config or MSRNConfig(1, 1, 2))
    torch.nn.init.zeros_(network.reconstruct.weight)
    torch.nn.init.zeros_(network.reconstruct.bias)
    return network


def card_of(task: Task, config: MSRNConfig) -> Card:
    return Card(task=task, config=config, luminance="studio", levels=(2, 3, 4), data="nothing")


def by_graph(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    """What the graph makes of images ``(N, C, H, W)``, computed by torch in the images' type."""
    s, (height, width) = graph.config.unshuffle, x.shape[2:]
    whole = F.pad(x, (0, -width % s, 0, -height % s), mode="replicate")
    operations = TorchOperations(x.dtype)
    residual = as_tensors(graph, computing=x.dtype).residual(F.pixel_unshuffle(whole, s), operations)
    return F.pixel_shuffle(residual, s)[..., :height, :width] + x * graph.skip


def fused(network: MSRN) -> Graph:
    return fuse(network.config, arrays_of(network))


def weights_of(network: MSRN, task: Task, name: str = "made") -> Weights:
    return Weights(card_of(task, network.config), arrays_of(network), name)


def random_weights(task: Task, config: MSRNConfig, seed: int = 0) -> Weights:
    return weights_of(random_network(config, seed), task, "random")


def identity_weights(task: Task, config: MSRNConfig | None = None) -> Weights:
    network = identity_network(config)
    return weights_of(network, task, "identity")
