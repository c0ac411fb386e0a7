"""RGB in, RGB out as tensors for spandrel, chaiNNer and ComfyUI: ``.safetensors`` with everything in buffers.

See ``hosts/image_network.py`` for what it computes and ``hosts/spandrel.py`` for what reads it.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from msrn.errors import UsageError
from msrn.network.weights import Weights
from msrn.restoration.backends import Planes
from msrn.restoration.export.about import facts
from msrn.restoration.export.parity import compare_images
from msrn.restoration.hosts.image_network import from_state, from_weights
from msrn.system.atomic import write_atomically
from msrn.types import ENLARGING


def export(weights: Weights, path: Path, *, scale: float, tolerance: float) -> float:
    """See :func:`msrn.restoration.export.export`."""
    enlarging = weights.card.task in ENLARGING
    if enlarging and scale != int(scale):
        raise UsageError(f"spandrel's models enlarge by whole numbers, not by {scale:g}")
    factor = int(scale) if enlarging else 1
    state = from_weights(weights, factor).state_dict()
    module = from_state(state)  # as the host will build it
    module.load_state_dict(state)

    def run(images: Planes) -> Planes:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(images)).numpy())

    worst = compare_images(weights, run, tolerance, float(factor) if enlarging else None)
    said = facts(weights, input="RGB", output="RGB", halo=module.halo, scale=factor)
    metadata = {"msrn_export": "; ".join(f"{key}: {value}" for key, value in said.items() if key != "card")}
    data = save({key: tensor.contiguous() for key, tensor in state.items()}, metadata)
    write_atomically(path, lambda file: file.write(data))
    return worst
