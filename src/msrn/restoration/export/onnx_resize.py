"""MATLAB's bicubic ``imresize`` as ONNX, for images of any size: ONNX's own ``Resize`` ends otherwise at the edge.

A pixel of the result lies at ``((2x + 1)·b - a) / 2a`` of the image, for a scale of a/b. This is computed in whole
numbers, and only the fraction between two pixels is rounded: in floating point, positions in wide images would not be
exact enough. Beyond its edge, the image is mirrored.
"""

from fractions import Fraction

import numpy as np

from msrn.images.resize import cubic
from msrn.restoration.backends.onnx import Operations

_FLOAT = 1
"""ONNX's number for float32."""
_HALVING = range(-3, 5)
"""Pixels that one of half the size is made of, from twice its place."""


def enlarge(do: Operations, image: str, scale: Fraction) -> str:
    """Add an enlargement by a scale, to ``ceil(scale · side)``, and return its name."""
    if scale == 1:
        return image
    a, b = do.integers(scale.numerator), do.integers(scale.denominator)
    for axis in (2, 3):
        old = do.node("Shape", [image], start=axis, end=axis + 1)
        new = _divided(do, do.add(do.node("Mul", [old, a]), do.integers(scale.denominator - 1)), b)
        image = _interpolated(do, image, axis, old, new, (a, b))
    return image


def resize_to(do: Operations, image: str, size: str) -> str:
    """Add an enlargement to a height and width, each with a scale of its own, and return its name."""
    for axis in (2, 3):
        old = do.node("Shape", [image], start=axis, end=axis + 1)
        new = do.node("Slice", [size, do.integers(axis - 2), do.integers(axis - 1)])
        image = _interpolated(do, image, axis, old, new, (new, old))
    return image


def halve(do: Operations, image: str) -> str:
    """Add a reduction by two, antialiased, to ``ceil(side / 2)``, and return its name."""
    weights = cubic((np.array(_HALVING) - 0.5) / 2)
    weights /= weights.sum()
    for axis in (2, 3):
        old = do.node("Shape", [image], start=axis, end=axis + 1)
        new = _divided(do, do.add(old, do.integers(1)), do.integers(2))
        first = do.node("Mul", [_counted(do, new), do.integers(2)])
        parts = [
            do.multiply(_taken(do, image, axis, do.add(first, do.integers(tap)), old), float(weight))
            for tap, weight in zip(_HALVING, weights, strict=True)
        ]
        image = do.node("Sum", parts)
    return image


def _interpolated(do: Operations, image: str, axis: int, old: str, new: str, scale: tuple[str, str]) -> str:
    """Enlarge one axis: four pixels, weighted by the cubic kernel at their distances."""
    a, b = scale
    twice = do.add(do.node("Mul", [_counted(do, new), do.integers(2)]), do.integers(1))
    position = do.node("Sub", [do.node("Mul", [twice, b]), a])
    unit = do.node("Mul", [a, do.integers(2)])
    between = do.node("Mod", [position, unit])
    left = do.node("Div", [do.node("Sub", [position, between]), unit])
    fraction = do.node("Div", [do.node("Cast", [between], to=_FLOAT), do.node("Cast", [unit], to=_FLOAT)])
    along = do.node("Unsqueeze", [fraction, do.integers(1)]) if axis == 2 else fraction
    back = do.node("Sub", [do.constant(np.float32(1)), along])
    near, far = (1.5, -2.5, 0.0, 1.0), (-0.5, 2.5, -4.0, 2.0)
    one = do.constant(np.float32(1))
    kernels = [(far, do.add(along, one)), (near, along), (near, back), (far, do.add(back, one))]
    parts = [
        do.node("Mul", [_taken(do, image, axis, do.add(left, do.integers(tap)), old), _polynomial(do, distance, terms)])
        for tap, (terms, distance) in enumerate(kernels, start=-1)
    ]
    return do.node("Sum", parts)


def _polynomial(do: Operations, x: str, terms: tuple[float, ...]) -> str:
    """``terms`` from the highest power down."""
    result = do.multiply(x, terms[0])
    for term in terms[1:-1]:
        result = do.node("Mul", [do.add(result, do.constant(np.float32(term))), x])
    return do.add(result, do.constant(np.float32(terms[-1])))


def _taken(do: Operations, image: str, axis: int, places: str, length: str) -> str:
    """The image's pixels at places along an axis, mirrored beyond its edge."""
    period = do.node("Mul", [length, do.integers(2)])
    place = do.node("Mod", [places, period])
    back = do.node("Sub", [do.node("Sub", [period, do.integers(1)]), place])
    return do.node("Gather", [image, do.node("Min", [place, back])], axis=axis)


def _counted(do: Operations, length: str) -> str:
    """0 to ``length - 1``."""
    scalar = do.node("Squeeze", [length])
    zero, one = (do.constant(np.array(number, np.int64)) for number in (0, 1))
    return do.node("Range", [zero, scalar, one])


def _divided(do: Operations, x: str, by: str) -> str:
    """Whole numbers, not below zero, divided and rounded down."""
    return do.node("Div", [x, by])
