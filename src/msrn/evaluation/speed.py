"""Speed and memory of every way to compute a network, beside the plain network and its peers, in one run.

All contenders take turns, round after round, so that whatever else the machine does disturbs all alike; times are
medians, factors are medians of the rounds' own ratios. The ceiling of a precision is the rate of a chain of lone 3×3
convolutions as wide as the network, in whichever backend runs them fastest.
"""

import math
import os
import platform
from collections.abc import Callable, Sequence

import numpy as np

from msrn.evaluation.ceilings import ON_GPU, PeakRates, Work, convolution_rates, copy_rate, product_rates
from msrn.evaluation.contenders import PLAIN, contenders, traffic, weights_of_shape
from msrn.evaluation.results import Benchmark, Ceiling, Machine, Measurement
from msrn.evaluation.stopwatch import take_turns
from msrn.network.weights import Weights, load
from msrn.restoration.backends import Device, Processor
from msrn.restoration.device import name_of, named
from msrn.system.extras import installed_version
from msrn.system.machine import cores, kind, processor


def benchmark(
    names: Sequence[str],
    sides: Sequence[int],
    rounds: int = 5,
    peers: bool = True,
    report: Callable[[float], None] = lambda share: None,
    device: str = "cpu",
    work: Work | None = None,
) -> Benchmark:
    """Measure on one device; times include the transfer of image and result to a GPU and back.

    >>> benchmark(["M1R1C4"], [64]).rows[0].entry  # doctest: +SKIP
    'openvino fp32'

    Args:
        names: weights, or shapes such as ``M6R6C64`` (untrained).
        sides: of the square images, in pixels.
        rounds: how often each contender takes its turn.
        peers: also measure the plain network, its ONNX export in other runtimes, and a network as large as DnCNN.
        report: called with the share done.
        device: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` is the best at hand.
        work: how much is computed to measure the ceilings.

    Raises:
        WeightsError: a name is neither weights nor a shape.
        UsageError: there is no such device.
    """
    place = named(device)
    about = describe_machine(place)  # how busy it is without this
    work = work or (Work() if place.type == "cpu" else ON_GPU)
    products, copy = product_rates(place, rounds, work.matrix), copy_rate(place, rounds, work.size)
    rows: list[Measurement] = []
    ceilings: list[Ceiling] = []
    known: dict[int, PeakRates] = {}
    for done, name in enumerate(names):
        weights = weights_of_shape(name) or load(name)
        channels = weights.card.config.channels
        if channels not in known:
            measured = convolution_rates(channels, rounds, place, work.side)
            ceilings += [Ceiling(channels, choice.precision, choice.backend, rate) for choice, rate in measured.items()]
            best = {choice.precision: rate for choice, rate in sorted(measured.items(), key=lambda item: item[1])}
            known[channels] = PeakRates(best, products, copy)
        for number, side in enumerate(sides):
            rows += measure_size(weights, side, rounds, known[channels], place, peers=peers)
            report((done + (number + 1) / len(sides)) / len(names))
    return Benchmark(about, tuple(ceilings), products, copy, tuple(rows))


def describe_machine(device: Device | None = None) -> Machine:
    """The machine that figures are taken on, and how busy it is; by default without a GPU."""
    device = device or Processor()
    return Machine(
        kind=kind() if device.type == "cpu" else device.type,
        processor=name_of(device) if device.type == "cuda" else processor(),
        cores=cores(),
        load=round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        system=platform.platform(),
        torch=installed_version("torch"),
    )


def measure_size(
    weights: Weights, side: int, rounds: int, rates: PeakRates, device: Device, *, peers: bool
) -> list[Measurement]:
    """Measure every way to compute a network on square images, the fastest first, against the highest ``rates``."""
    config = weights.card.config
    entered = contenders(weights, device, peers=peers)
    times, memory = take_turns(entered, side, rounds, device, config.in_channels)
    plain = next((taken for each, taken in zip(entered, times, strict=True) if each.name == PLAIN), None)
    values = traffic(config, weights.arrays)[0] / config.unshuffle**2 * side**2
    rows: list[Measurement] = []
    for each, taken, peak in zip(entered, times, memory, strict=True):
        median, loss = float(np.median(taken)), weights.card.cost(each.precision)
        gigaflops = 2e-9 * (each.multiply_adds or config.multiply_adds_per_pixel) * side**2 / median
        ceilings = (known.get(each.precision) for known in (rates.convolutions, rates.products))
        share, product = (gigaflops / ceiling if ceiling else None for ceiling in ceilings)
        size = 2 if "bf16" in each.precision else 4  # in int8, what runs on from block to block is fp32
        row = Measurement(
            network=config.shape,
            entry=each.name,
            precision=each.precision,
            side=side,
            seconds_per_megapixel=median / side**2 * 1e6,
            gigaflops=gigaflops,
            share=share,
            product=product,
            copy=None if each.multiply_adds else values * size / median / 1e9 / rates.copy,
            factor=None if plain is None else float(np.median(np.array(plain) / np.array(taken))),
            memory=peak,
            loss=loss if math.isfinite(loss) else None,
        )
        rows.append(row)
    return sorted(rows, key=lambda row: row.seconds_per_megapixel)
