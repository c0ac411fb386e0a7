"""What training minimises: the multi-supervised objective (paper, eq. 12)."""

import torch
from torch import Tensor

from msrn.network.memnet import Outputs
from msrn.training.recipe import LossRecipe

_QUARTER = 1e-3
"""A quarter of a grey level, in units of the full range: ε of Charbonnier's √(d² + ε²), and the root mean square below
which PSNR gains nothing."""


def objective(outputs: Outputs, clean: Tensor, recipe: LossRecipe) -> Tensor:
    """The loss of the final and the intermediate images, ``(N, C, H, W)`` each, normalised to weight one in all.

    The final image weighs 1, every intermediate one ``intermediate_weight``; at 1 that is the paper's
    α = 1/(M+1). The basic variant's single image is not counted twice.
    """
    terms = [(1.0, outputs.ensemble)]
    if len(outputs.intermediate) > 1 or outputs.intermediate[0] is not outputs.ensemble:
        terms += [(recipe.intermediate_weight, image) for image in outputs.intermediate]
    total = sum(weight for weight, _ in terms)
    loss = torch.stack([weight / total * _mean(image - clean, recipe.kind) for weight, image in terms]).sum()
    return loss * clean[0].numel() if recipe.reduction == "patch" else loss


def _mean(difference: Tensor, kind: str) -> Tensor:
    if kind == "l1":
        return difference.abs().mean()
    if kind == "l2":
        return difference.square().mean() / 2
    if kind == "psnr":
        return 10 * torch.log10(difference.square().mean(dim=(1, 2, 3)) + _QUARTER**2).mean()
    return torch.sqrt(difference.square() + _QUARTER**2).mean()
