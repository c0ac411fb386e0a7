"""What the gates of a network read, from its weights alone (paper, section 5: the norm of filter weights)."""

import numpy as np

from msrn.evaluation.inspection.numbers import Floats, Gate
from msrn.network.weights import Weights


def gates_of(weights: Weights) -> tuple[Gate, ...]:
    """The gate of every block.

    Example:
        >>> first = gates_of(load("msrn-m4r1s2-sr"))[0]
        >>> first.memories, first.norms.shape
        (('B0', 'H1'), (2, 64))
    """
    return tuple(_gate(weights, number) for number in range(weights.card.config.memory_blocks))


def _gate(weights: Weights, number: int) -> Gate:
    config, name = weights.card.config, f"blocks.{number}"
    weight: Floats = weights.arrays[f"{name}.gate.weight"].astype(np.float64)[:, :, 0, 0]  # (C, C·(m+R))
    scale: Floats = weights.arrays[f"{name}.gate_norm.weight"].astype(np.float64)
    long_term = [f"B{k}" for k in range(number + 1)]
    short_term = [f"H{k}" for k in range(1, config.recursions + 1)]
    taken = np.sqrt(((weight * scale) ** 2).sum(axis=0).reshape(-1, config.channels).sum(axis=1))
    return Gate(
        number + 1,
        (*long_term, *short_term),
        np.sqrt((weight**2).sum(axis=0)).reshape(-1, config.channels),
        taken / taken.sum(),
    )
