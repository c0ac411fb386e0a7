"""Less effort: the network that ends after some of its memory blocks, made of a multi-supervised one's weights.

An image is predicted after every block (paper, section 3.3), so each of them may be the last. What the first m blocks
predict is added up by those of their weights w_1 … w_m that are above zero, scaled to the sum of all. The result is a
network like any other: every backend, precision and batch computes it, in exact tiles, with a smaller halo.
"""

import hashlib
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.network.weights import Weights


def shortened(weights: Weights, effort: int) -> Weights:
    """Return the weights of the first memory blocks.

    Args:
        weights: of a multi-supervised network.
        effort: how many blocks, from 1; 0, or as many as there are, is all of them: the weights as they are.

    Raises:
        UsageError: there are fewer blocks, or no image is predicted after them.

    Example:
        >>> half = shortened(msrn.network.weights.load("msrn-m4r1s2-sr"), 2)
        >>> half.card.config.memory_blocks
        2
    """
    config = weights.card.config
    blocks = config.memory_blocks
    if not 0 <= effort <= blocks:
        raise UsageError(f"{weights.name} has {blocks} memory blocks: its effort is from 1 to {blocks}, not {effort}")
    if effort in (0, blocks):
        return weights
    if not config.multi_supervised:
        raise UsageError(f"{weights.name} predicts an image after its last memory block only: it has no smaller effort")
    later = tuple(f"{part}.{k}." for part in ("blocks", "reconstruct_norm") for k in range(effort, blocks))
    arrays = {name: array for name, array in weights.arrays.items() if not name.startswith(later)}
    arrays["ensemble"] = first_weights(weights.arrays["ensemble"], effort)
    card = replace(weights.card, config=replace(config, memory_blocks=effort), scores={})
    digest = weights.sha256 and hashlib.sha256(f"{weights.sha256} effort {effort}".encode()).hexdigest()
    return Weights(card, arrays, f"{weights.name} (effort {effort} of {blocks})", digest)


def first_weights(ensemble: NDArray[Any], effort: int) -> NDArray[Any]:
    """The weights that add up what the first blocks predict, of those that add up all, ``(M,)``: ``(effort,)``.

    Example:
        >>> first_weights(np.array([-0.1, 0.4, 0.7]), 2)
        array([0., 1.])
    """
    if effort == len(ensemble):
        return ensemble
    first = ensemble[:effort].clip(0)  # of early blocks, some subtract what later ones add
    if not first.any():
        first[-1] = 1
    return (first * (ensemble.sum() / first.sum())).astype(ensemble.dtype)
