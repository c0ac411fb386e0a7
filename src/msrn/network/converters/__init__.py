"""Weights files from other programs' files of this network; each reader gives a configuration and arrays.

``caffe.py`` reads what the authors' Caffe wrote, ``pytorch.py`` the checkpoints of PyTorch implementations.
"""

from pathlib import Path

from msrn.errors import UsageError, WeightsError
from msrn.network.weights import Card, Weights
from msrn.types import Range, Task


def convert(path: Path, task: Task, levels: tuple[float, ...], luminance: Range, data: str, licence: str) -> Weights:
    """Return the weights in another program's file; see the readers for what they understand.

    Args:
        path: a ``.caffemodel``, or a PyTorch checkpoint: ``.pth``, ``.pth.tar``, ``.pt``.
        task: what the network restores; the file does not say.
        levels: the scales, or the lowest and highest σ or quality, that it was trained for.
        luminance: range of the luminance it was trained on; ignored for three channels.
        data: what it was trained on, for the card.
        licence: of the weights, for the card.

    Raises:
        UsageError: another suffix, or the package that reads it is not installed.
        WeightsError: the file is damaged, or holds another network; the message names the tensor.

    Example:
        >>> convert(Path("MemNet_M6R6.caffemodel"), "sr", (2, 3, 4), "studio", "291", "unknown").card.config.name
        'M6R6'
    """
    name = path.name.lower()
    if name.endswith(".caffemodel"):
        from msrn.network.converters.caffe import read
    elif name.endswith((".pth", ".pth.tar", ".pt")):
        from msrn.network.converters.pytorch import read
    else:
        raise UsageError(f"{path} is neither a .caffemodel nor a PyTorch checkpoint (.pth, .pth.tar, .pt)")
    try:
        config, arrays = read(path)
    except UsageError as error:  # a shape that no network of ours has
        raise WeightsError(f"{path} holds another network: {error}") from error
    card = Card(task, config, luminance, levels, data, licence, training={"converted from": path.name})
    return Weights(card, arrays, path.name)
