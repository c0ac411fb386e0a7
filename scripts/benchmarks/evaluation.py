"""What evaluation costs beside restoring: the whole of `evaluate` against what it spends in the network.

    python scripts/benchmarks/evaluation.py DATA/set5 [--device cpu] [--small]

Both are of the same run, so that what else the machine does slows both. The network has the paper's size (M6R6, 64
channels) and random weights: the time does not depend on them. Prints a Markdown table; docs/protocol.md keeps it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from msrn.evaluation.methods import WeightsMethod
from msrn.evaluation.protocol import evaluate
from msrn.network.config import MSRNConfig
from msrn.network.memnet import MSRN, initialise
from msrn.network.weights import Card, Weights
from msrn.restoration.restorer import Restorer


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--small", action="store_true", help="M4R1 with 32 channels instead of M6R6 with 64")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = MSRNConfig(4, 1, 32) if arguments.small else MSRNConfig()
    network = MSRN(config)
    initialise(network, torch.Generator().manual_seed(0), ensemble_weight=1 / config.memory_blocks, zero_residual=True)
    card = Card(task="sr", config=config, luminance="studio", levels=(2, 3, 4), data="nothing")
    weights = Weights(network.eval().requires_grad_(False), card, "", config.name)
    method = WeightsMethod(Restorer(weights, device=arguments.device, precision="fp32"))
    method(np.zeros((1, 64, 64)), "")  # the first pass pays for what is set up once
    started = time.perf_counter()
    result = evaluate("sr", arguments.scale, arguments.folder, method)
    total, network_time = time.perf_counter() - started, result.timing.seconds
    print(f"| {config.name}C{config.channels}, {result.data} ×{arguments.scale}, {arguments.device} | seconds |")
    print("|---|---|")
    print(f"| restoring | {network_time:.2f} |")
    print(f"| reading, degrading, scoring the degraded and the restored | {total - network_time:.2f} |")
    print(f"| more | {100 * (total / network_time - 1):.1f} % |")


if __name__ == "__main__":
    main()
