"""The network is the paper's, to the last parameter."""

import itertools

import pytest
import torch
from tests.helpers.networks import random_network
from torch import nn
from torch.nn import functional as F

from msrn.errors import UsageError
from msrn.network.config import MSRNConfig
from msrn.network.memnet import MSRN, initialise

# M, R: convolution weights, + biases, + w_m, + BatchNorm affine
PARAMETERS = {
    (4, 6): (435_328, 436_161, 436_165, 447_175),
    (6, 6): (676_992, 678_209, 678_215, 695_497),
    (6, 8): (726_144, 727_361, 727_367, 749_257),
    (10, 10): (1_373_312, 1_375_297, 1_375_307, 1_422_029),
}
SHAPES = [
    MSRNConfig(1, 1, 3),
    MSRNConfig(2, 3, 4),
    MSRNConfig(3, 2, 5, in_channels=3),
    MSRNConfig(3, 2, 4, multi_supervised=False),
    MSRNConfig(2, 1, 3, in_channels=3, multi_supervised=False),
]


@pytest.mark.parametrize("shape", PARAMETERS)
def test_parameter_counts_are_the_papers(shape):
    network = MSRN(MSRNConfig(*shape))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    weights = sum(module.weight.numel() for module in convolutions)
    biases = sum(module.bias.numel() for module in convolutions if module.bias is not None)
    everything = sum(parameter.numel() for parameter in network.parameters())
    counts = (weights, weights + biases, weights + biases + network.ensemble.numel(), everything)
    assert counts == PARAMETERS[shape]


def test_the_basic_variant_has_one_reconstruction_and_no_ensemble():
    network = MSRN(MSRNConfig(multi_supervised=False))
    assert sum(parameter.numel() for parameter in network.parameters()) == 694_851


def test_cost_and_radius_and_name():
    config = MSRNConfig()
    assert config.multiply_adds_per_pixel == 2_888_832
    assert config.receptive_radius == 74
    assert config.name == "M6R6"


def naive(state, config, x, training):
    """The paper's section 3 once more, in the plainest code: a dictionary of tensors and nothing shared with ours."""

    def bn(name, value):
        mean, var = state[f"{name}.running_mean"].clone(), state[f"{name}.running_var"].clone()
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if training:
            dims = (0, 2, 3)
            mean, var = value.mean(dims), value.var(dims, unbiased=False)
        shape = (1, -1, 1, 1)
        scaled = (value - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
        return scaled * weight.view(shape) + bias.view(shape)

    def conv(name, value, padding):
        return F.conv2d(value, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def relu(value):
        return value.clamp(min=0)

    long_term = [conv("extract", relu(bn("extract_norm", x)), 1)]
    images = []
    for m in range(config.memory_blocks):
        h, short_term = long_term[-1], []
        for r in range(config.recursions):
            inner = conv(f"blocks.{m}.conv1", relu(bn(f"blocks.{m}.norm1.{r}", h)), 1)
            h = conv(f"blocks.{m}.conv2", relu(bn(f"blocks.{m}.norm2.{r}", inner)), 1) + h
            short_term.append(h)
        gated = relu(bn(f"blocks.{m}.gate_norm", torch.cat(long_term + short_term, 1)))
        long_term.append(conv(f"blocks.{m}.gate", gated, 0))
        if config.multi_supervised:
            images.append(x + conv("reconstruct", relu(bn(f"reconstruct_norm.{m}", long_term[-1])), 1))
    if not config.multi_supervised:
        return x + conv("reconstruct", relu(bn("reconstruct_norm.0", long_term[-1])), 1), images
    return sum(w * image for w, image in zip(state["ensemble"], images, strict=True)), images


@pytest.mark.parametrize(("config", "training"), list(itertools.product(SHAPES, (False, True))))
def test_a_second_implementation_agrees(config, training):
    network = random_network(config, seed=5).train(training)
    if config.multi_supervised:
        network.ensemble.copy_(torch.linspace(0.1, 0.9, config.memory_blocks))
    x = torch.rand(2, config.in_channels, 9, 11, generator=torch.Generator().manual_seed(1))
    state = {key: value.clone() for key, value in network.state_dict().items()}
    expected, images = naive(state, config, x, training)
    outputs = network.all_outputs(x)
    assert torch.allclose(outputs.ensemble, expected, atol=1e-5)
    assert torch.equal(network.eval()(x), network(x))
    if config.multi_supervised:
        assert len(outputs.intermediate) == config.memory_blocks
        for ours, theirs in zip(outputs.intermediate, images, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)
    else:
        assert len(outputs.intermediate) == 1
        assert outputs.intermediate[0] is outputs.ensemble


@pytest.mark.parametrize("config", [MSRNConfig(1, 1, 4), MSRNConfig(2, 1, 4), MSRNConfig(1, 3, 4), MSRNConfig(2, 2, 3)])
def test_the_receptive_radius_is_2mr_plus_2(config):
    assert config.receptive_radius == config.halo == 2 * config.memory_blocks * config.recursions + 2
    side = 2 * config.receptive_radius + 7
    touched, expected = touched_and_within(config, side, side // 2)
    assert torch.equal(touched, expected)


@pytest.mark.parametrize("unshuffle", [2, 3])
def test_unshuffled_every_square_of_pixels_sees_as_far_as_its_nearest_ones(unshuffle):
    config = MSRNConfig(1, 2, 4, unshuffle=unshuffle)
    assert config.halo == 6 * unshuffle
    assert config.receptive_radius == config.halo + unshuffle - 1
    first = unshuffle * 8
    for pixel in range(first, first + unshuffle):
        touched, _ = touched_and_within(config, 17 * unshuffle, pixel)
        lines = touched.any(0).nonzero().flatten().tolist()
        assert lines == list(range(first - config.halo, first + unshuffle + config.halo))


def touched_and_within(config, side, pixel):
    """Which pixels change the result at (pixel, pixel), and those within the receptive radius."""
    reach = config.receptive_radius
    touched = torch.zeros(side, side, dtype=torch.bool)
    for seed in range(4):  # ReLU may hide a path of one network; the union of a few shows all
        network = random_network(config, seed).double()
        initialise_positive(network)
        x = torch.rand(1, 1, side, side, dtype=torch.double, requires_grad=True)
        network(x)[0, 0, pixel, pixel].backward()
        assert x.grad is not None
        touched |= x.grad[0, 0] != 0
    expected = torch.zeros_like(touched)
    expected[pixel - reach : pixel + reach + 1, pixel - reach : pixel + reach + 1] = True
    return touched, expected


def initialise_positive(network):
    """Convolutions without negative weights, so that no signal dies in a ReLU."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.abs_()


def test_recursions_share_convolutions_and_blocks_do_not():
    network = MSRN(MSRNConfig(2, 5, 4))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 2 + 2 * 3
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 1 + 2 * (5 * 2 + 1) + 2


def test_every_convolution_starts_with_hes_variance_of_its_fan_in_and_no_bias():
    network = MSRN(MSRNConfig(3, 4, 48, in_channels=3))
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.07), name
            assert abs(module.weight.mean().item()) < 0.1 * (2 / fan_in) ** 0.5, name
            assert module.bias is not None
            assert not module.bias.any(), name


def test_initialising_again_forgets_all_that_was_learned():
    config = MSRNConfig(2, 2, 3)
    fresh, used = MSRN(config), random_network(config, seed=4).requires_grad_(True)
    for parameter in used.parameters():
        parameter.data.add_(1)
    for network in (fresh, used):
        initialise(network, torch.Generator().manual_seed(3))
    other = MSRN(config)
    initialise(other, torch.Generator().manual_seed(4))
    for (key, one), again in zip(fresh.state_dict().items(), used.state_dict().values(), strict=True):
        assert torch.equal(one, again), key
    assert not torch.equal(fresh.extract.weight, other.extract.weight)


def test_initialisation_is_hes_and_depends_on_the_generator_alone():
    config = MSRNConfig(2, 2, 64)
    torch.manual_seed(1)
    first = MSRN(config)
    torch.manual_seed(2)
    second = MSRN(config)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    weight = first.blocks[0].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert not first.blocks[0].conv1.bias.any()
    assert first.ensemble.tolist() == [1, 1]
    initialise(first, torch.Generator().manual_seed(7), ensemble_weight=0.5, zero_residual=True)
    assert first.ensemble.tolist() == [0.5, 0.5]
    x = torch.rand(1, 1, 8, 8)
    assert torch.equal(first.eval()(x), x)


@pytest.mark.parametrize(
    "values", [{"memory_blocks": 0}, {"recursions": -1}, {"channels": 2.5}, {"in_channels": 2}, {"memory_blocks": True}]
)
def test_impossible_configurations_are_named(values):
    with pytest.raises(UsageError, match=next(iter(values))):
        MSRNConfig(**values)
