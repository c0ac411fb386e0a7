"""A larger network begins with the function of the smaller one, and learns with all that is new in it."""

from dataclasses import replace

import pytest
import torch
from tests.helpers.networks import random_network
from torch import nn

from msrn.errors import UsageError
from msrn.network.config import MSRNConfig
from msrn.network.growth import grow, measure
from msrn.network.memnet import MSRN

SHAPES = [
    MSRNConfig(1, 1, 3),
    MSRNConfig(2, 3, 4),
    MSRNConfig(3, 2, 5, in_channels=3),
    MSRNConfig(3, 2, 4, multi_supervised=False),
    MSRNConfig(2, 1, 4, unshuffle=2),
]


def settled(config: MSRNConfig) -> MSRN:
    """A network whose BatchNorms have seen what they normalise."""
    network = random_network(config, seed=2).train()
    with torch.no_grad():
        for _ in range(60):
            network(torch.rand(4, config.in_channels, 16, 16))
    return network.eval()


@pytest.mark.parametrize("config", SHAPES)
@pytest.mark.parametrize(
    "larger",
    [
        {},
        {"recursions": 5},
        {"channels": 9},
        {"memory_blocks": 5},
        {"recursions": 4, "channels": 8, "memory_blocks": 4},
    ],
)
def test_growing_does_not_change_the_function(config, larger):
    network = settled(config).requires_grad_(False)  # as weights come from a file
    wanted = replace(config, **larger)
    grown = grow(network, wanted)
    assert grown.config == wanted
    assert not grown.training
    assert all(parameter.requires_grad for parameter in grown.parameters())
    x = torch.rand(2, config.in_channels, 12, 10)
    assert torch.allclose(grown(x), network(x), atol=1e-6)


@pytest.mark.parametrize("config", SHAPES)
def test_more_recursions_do_not_change_it_in_training_either(config):
    network = random_network(config, seed=2).train()
    grown = grow(network, replace(config, recursions=config.recursions + 2))
    assert grown.training
    x = torch.rand(2, config.in_channels, 12, 10)
    assert torch.allclose(grown(x), network(x), atol=1e-5)


def test_all_that_is_new_learns():
    """Within two steps: a weight of zero must change before what it reads can."""
    grown = grow(settled(MSRNConfig(2, 1, 4)), MSRNConfig(4, 2, 6)).train()
    before = {name: parameter.detach().clone() for name, parameter in grown.named_parameters()}
    optimiser = torch.optim.AdamW(grown.parameters(), lr=1e-2, weight_decay=0)
    for _ in range(2):
        optimiser.zero_grad()
        x = torch.rand(4, 1, 16, 16)
        outputs = grown(x)
        (outputs - x**2).square().mean().backward()
        optimiser.step()
    for name, parameter in grown.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_new_recursions_take_over_the_last_ones_norms_and_no_weight_in_the_gate():
    network = random_network(MSRNConfig(2, 2, 3), seed=2)
    grown = grow(network, MSRNConfig(2, 4, 3))
    for block, old in zip(grown.blocks, network.blocks, strict=True):
        for norms, before in ((block.norm1, old.norm1), (block.norm2, old.norm2)):
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                values = [getattr(norm, leaf) for norm in norms]
                kept = [getattr(norm, leaf) for norm in before]
                for ours, theirs in zip(values, [*kept, kept[-1], kept[-1]], strict=True):
                    assert torch.equal(ours, theirs)
        added = 2 * 3  # channels of the two new short-term memories
        assert not block.gate.weight[:, -added:].any()
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            last = getattr(old.gate_norm, leaf)[-3:]
            assert torch.equal(getattr(block.gate_norm, leaf)[-added:], torch.cat([last, last]))


@pytest.mark.parametrize("config", [MSRNConfig(2, 2, 4), MSRNConfig(2, 1, 4, unshuffle=2)])
def test_made_for_colours_a_network_does_to_gray_pictures_what_it_did(config):
    network = random_network(config, seed=2)
    colored = grow(network, replace(config, in_channels=3))
    gray = torch.rand(2, 1, 12, 10)
    assert torch.allclose(colored(gray.repeat(1, 3, 1, 1)), network(gray).repeat(1, 3, 1, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recursions": 2}, "recursions: 3 -> 2"),
        ({"channels": 1}, "channels: 2 -> 1"),
        ({"unshuffle": 2}, "unshuffle: 1 -> 2"),
    ],
)
def test_networks_neither_shrink_nor_change_otherwise(change, named):
    config = MSRNConfig(2, 3, 2)
    with pytest.raises(UsageError, match=f"network.{named}$"):
        grow(MSRN(config), replace(config, **change))


@pytest.mark.parametrize("config", SHAPES)
def test_new_recursions_are_normalised_by_what_they_see(config):
    """Copies of the last one's statistics would be several times too small, as what recursions hand on grows."""
    network = settled(config).requires_grad_(False)
    grown = grow(network, replace(config, recursions=config.recursions + 3))
    before = {key: value.clone() for key, value in grown.state_dict().items()}
    batches = [torch.rand(8, config.in_channels, 16, 16) for _ in range(4)]
    measure(grown, config.recursions, batches)
    assert not grown.training
    assert torch.allclose(grown(batches[0]), network(batches[0]), atol=1e-6)
    assert {norm.momentum for norm in grown.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}
    after = grown.state_dict()
    for key, old in network.state_dict().items():  # what is old stays; gates have old memories first
        if old.ndim == 1:
            assert torch.equal(after[key][: len(old)], before[key][: len(old)]), key
    seen: dict[str, list[torch.Tensor]] = {}
    for name, norm in grown.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.register_forward_hook(lambda _, given, __, name=name: seen.setdefault(name, []).append(given[0]))
    with torch.no_grad():
        for batch in batches:
            grown(batch)
    for name, given in seen.items():
        if ".gate_norm" in name or (".norm" in name and int(name.rpartition(".")[2]) >= config.recursions):
            variance = torch.cat(given).var(dim=(0, 2, 3))[-config.channels :]
            ratio = variance / after[f"{name}.running_var"][-config.channels :]
            assert float(ratio.median()) == pytest.approx(1, rel=0.2), name


def test_only_shared_recursions_can_grow():
    config = MSRNConfig(1, 2, 2, shared=False)
    with pytest.raises(UsageError, match="cannot grow"):
        grow(MSRN(config), replace(config, recursions=3))
