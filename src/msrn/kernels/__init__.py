"""BatchNorm and ReLU in one, for training on a processor: less memory to read, which is what their time goes to.

Torch's BatchNorm reads a map twice and writes it, its ReLU reads and writes it again, and the gradients do the same
once more. Here a map's moments are taken as it is born, by whoever makes it; each BatchNorm that reads it then takes
one pass forward and two backward, ReLU included; and the gradients of a map's readers are added while they are
computed, because every reader hands the map on to the next one.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from msrn.kernels.build import library

Moments = tuple[Tensor, Tensor]
"""Mean and biased variance of each channel, ``(C,)``; without gradients: whoever uses them accounts for these."""

_POINTER, _LONG, _INT, _DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_double
_ARGUMENTS = {
    "moments": [*[_POINTER] * 3, _LONG, _LONG, _INT, *[_POINTER] * 2],
    "forward": [_POINTER, _POINTER, _LONG, _LONG, _LONG, _INT, *[_POINTER] * 4, _DOUBLE],
    "backward": [
        *[_POINTER, _LONG, *[_POINTER] * 3, _LONG, _LONG, _INT],
        *[*[_POINTER] * 4, _DOUBLE, _INT, *[_POINTER] * 2],
    ],
}
_TYPES = {torch.bfloat16: torch.float32, torch.float32: torch.float32, torch.float64: torch.float64}
"""What a map may be made of, and what its BatchNorms' numbers must be."""


def available(dtype: torch.dtype) -> bool:
    """Whether maps of this type can be computed here; compiles the kernels when first asked."""
    return dtype in _TYPES and library() is not None


def moments(x: Tensor) -> Moments:
    """Mean and biased variance over the batch and all positions.

    Args:
        x: ``(N, C, H, W)``, channels last.

    Raises:
        ValueError: it is empty, or not channels last.
    """
    _check(x)
    return _moments(x, None, None)


def add(x: Tensor, y: Tensor) -> tuple[Tensor, Moments]:
    """Return ``x + y`` and its moments.

    Args:
        x: ``(N, C, H, W)``, channels last.
        y: likewise, in any layout.

    Raises:
        ValueError: x is empty or not channels last, or y is of another shape or type.
    """
    _check(x)
    if (x.shape, x.dtype) != (y.shape, y.dtype):
        raise ValueError(f"{_name(y)} cannot be added to {_name(x)}")
    total, *both = _Add.apply(x, y)
    return total, (both[0], both[1])


def norm_relu(
    maps: Sequence[Tensor], statistics: Sequence[Moments], norm: nn.BatchNorm2d
) -> tuple[Tensor, list[Tensor]]:
    """Return ``relu(norm(concatenated maps))``, and the maps for their next reader.

    Args:
        maps: K of ``(N, C, H, W)``, channels last.
        statistics: mean and variance of each. If the norm is in training, they must be the maps' own.
        norm: of K·C channels; does not remember what it sees.

    Returns:
        ``(N, K·C, H, W)``, and the maps as they are. Whoever reads a map next must read it from there.

    Raises:
        ValueError: the maps differ in shape or type, are not channels last, or are no match for the norm.
    """
    for x in maps:
        _check(x, like=maps[0])
    if norm.weight.dtype != _TYPES[maps[0].dtype] or norm.num_features != len(maps) * maps[0].shape[1]:
        raise ValueError(f"{len(maps)} maps of {_name(maps[0])} do not go through {norm} in {norm.weight.dtype}")
    y, *same = _NormReLU.apply(statistics, norm.eps, norm.training, norm.weight, norm.bias, *maps)
    return y, same


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = torch.empty_like(x)
        mean, variance = _moments(x, y.contiguous(memory_format=torch.channels_last), total)
        ctx.mark_non_differentiable(mean, variance)
        return total, mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        return grad, grad


class _NormReLU(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore
        ctx: Any,
        statistics: Sequence[Moments],
        epsilon: float,
        training: bool,
        weight: Tensor,
        bias: Tensor,
        *maps: Tensor,
    ) -> tuple[Tensor, ...]:
        count, (batch, channels, height, width) = len(maps), maps[0].shape
        size = (batch, count * channels, height, width)
        y = torch.empty(size, dtype=maps[0].dtype, memory_format=torch.channels_last)
        for k, (x, norm) in enumerate(zip(maps, _parts(weight, bias, statistics, channels), strict=True)):
            target = y.data_ptr() + k * channels * y.element_size()
            _call("forward", x, x.data_ptr(), target, count * channels, *_size(x), *norm, epsilon)
        ctx.save_for_backward(weight, bias, *maps)
        ctx.rest = statistics, epsilon, training
        ctx.set_materialize_grads(False)
        return y, *maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *others: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore
        if grad is None:  # only the maps were read on
            return (*[None] * 5, *others)
        (weight, bias, *maps), (statistics, epsilon, training) = ctx.saved_tensors, ctx.rest
        count, channels = len(maps), maps[0].shape[1]
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_weight, of_bias = torch.empty_like(weight), torch.empty_like(bias)
        of_maps: list[Tensor] = []
        for k, (x, norm) in enumerate(zip(maps, _parts(weight, bias, statistics, channels), strict=True)):
            source = grad.data_ptr() + k * channels * grad.element_size()
            other = others[k]
            other = other if other is None else other.contiguous(memory_format=torch.channels_last)
            result = torch.empty_like(x)
            results = [part.data_ptr() + k * channels * part.element_size() for part in (of_weight, of_bias)]
            _call(
                "backward",
                x,
                *(source, count * channels, x.data_ptr(), None if other is None else other.data_ptr()),
                *(result.data_ptr(), *_size(x), *norm, epsilon, training, *results),
            )
            of_maps.append(result)
        return None, None, None, of_weight, of_bias, *of_maps


def _check(x: Tensor, like: Tensor | None = None) -> None:
    """What the kernels are told of is an address: see that they will find there what they expect."""
    if not x.numel() or not x.is_contiguous(memory_format=torch.channels_last):
        raise ValueError(f"the kernels take maps that are stored channels last and not empty, not {_name(x)}")
    if like is not None and (x.shape, x.dtype) != (like.shape, like.dtype):
        raise ValueError(f"the kernels take maps that are alike, not {_name(like)} and {_name(x)}")


def _name(x: Tensor) -> str:
    return f"{x.dtype} {tuple(x.shape)} with strides {x.stride()}"


def _moments(x: Tensor, added: Tensor | None, total: Tensor | None) -> Moments:
    mean, variance = x.new_empty((2, x.shape[1]), dtype=_TYPES[x.dtype])
    pointers = [None if each is None else each.data_ptr() for each in (x, added, total)]
    _call("moments", x, *pointers, *_size(x), mean.data_ptr(), variance.data_ptr())
    return mean, variance


def _parts(weight: Tensor, bias: Tensor, statistics: Sequence[Moments], channels: int) -> list[tuple[int, ...]]:
    """The numbers of each map's share of a norm, as the kernels take them."""
    step = channels * weight.element_size()
    return [
        (weight.data_ptr() + k * step, bias.data_ptr() + k * step, mean.data_ptr(), variance.data_ptr())
        for k, (mean, variance) in enumerate(statistics)
    ]


def _size(x: Tensor) -> tuple[int, int, int]:
    """Rows, channels and threads."""
    return x.numel() // x.shape[1], x.shape[1], torch.get_num_threads()


def _call(name: str, x: Tensor, *arguments: Any) -> None:
    function: Callable[..., None] = _function(name, str(x.dtype).removeprefix("torch."))
    function(*arguments)


def _function(name: str, dtype: str) -> Any:
    function = getattr(library(), f"{name}_{dtype}")  # kept by ctypes
    if function.argtypes is None:
        function.argtypes, function.restype = _ARGUMENTS[name], None
    return function
