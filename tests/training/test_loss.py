"""The multi-supervised objective, its kinds and its gradients."""

import math

import pytest
import torch
from tests.helpers.networks import random_network

from msrn.network.config import MSRNConfig
from msrn.network.memnet import Outputs
from msrn.training.loss import objective
from msrn.training.recipe import LossRecipe


def test_with_equal_weights_the_objective_is_the_papers():
    """Equation (12): every one of the M+1 terms weighs α = 1/(M+1), halves of squared errors."""
    rng = torch.Generator().manual_seed(0)
    images = [torch.rand(2, 1, 3, 3, generator=rng) for _ in range(4)]
    clean = torch.rand(2, 1, 3, 3, generator=rng)
    outputs = Outputs(images[0], images[1:])
    expected = sum(((image - clean) ** 2).mean() / 2 for image in images) / 4
    loss = objective(outputs, clean, LossRecipe(kind="l2", intermediate_weight=1))
    assert loss.item() == pytest.approx(float(expected))
    final_only = objective(outputs, clean, LossRecipe(kind="l1", intermediate_weight=0))
    assert final_only.item() == pytest.approx((images[0] - clean).abs().mean().item())


def test_the_basic_variants_single_image_counts_once():
    image, clean = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4)
    loss = objective(Outputs(image, [image]), clean, LossRecipe())
    assert loss.item() == pytest.approx((image - clean).abs().mean().item())


@pytest.mark.parametrize("kind", ["l2", "charbonnier", "psnr", "l1"])
def test_gradients_equal_finite_differences(kind):
    network = random_network(MSRNConfig(2, 2, 2)).double().train().requires_grad_(True)
    rng = torch.Generator().manual_seed(0)
    x, clean = (torch.rand(2, 1, 6, 6, generator=rng, dtype=torch.double) for _ in range(2))

    def loss():
        return objective(network.all_outputs(x), clean, LossRecipe(kind=kind, intermediate_weight=0.3))

    loss().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        flat, index, step = parameter.data.view(-1), parameter.numel() // 2, 1e-6
        kept = flat[index].item()
        flat[index] = kept + step
        above = loss().item()
        flat[index] = kept - step
        below = loss().item()
        flat[index] = kept
        measured = (above - below) / (2 * step)
        assert parameter.grad.view(-1)[index].item() == pytest.approx(measured, abs=2e-6, rel=1e-3), name


def test_charbonnier_is_rounded_at_a_thousandth():
    clean = torch.zeros(1, 1, 2, 2)
    plan = LossRecipe(kind="charbonnier", intermediate_weight=0)
    loss = objective(Outputs(clean + 0.003, [clean + 0.003]), clean, plan)
    assert loss.item() == pytest.approx(math.sqrt(0.003**2 + 0.001**2))


def test_psnr_is_taken_of_each_patch_and_nothing_is_gained_below_a_quarter_of_a_grey_level():
    clean = torch.zeros(3, 1, 2, 2)
    image = clean + torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1)
    loss = objective(Outputs(image, [image, image]), clean, LossRecipe(kind="psnr"))
    assert loss.item() == pytest.approx(-(20 + 40 + 60) / 3, abs=0.02)


def test_a_sum_over_a_patch_is_averaged_over_the_batch():
    clean = torch.zeros(5, 1, 3, 4)
    image = clean + 2
    mean, patch = (
        objective(Outputs(image, [image, image]), clean, LossRecipe(kind="l2", reduction=reduction))
        for reduction in ("mean", "patch")
    )
    assert patch.item() == pytest.approx(12 * mean.item())
