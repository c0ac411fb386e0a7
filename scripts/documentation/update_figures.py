"""Draw the figures of docs/network.md: the network, one memory block, and what the gates of the weights take.

python scripts/documentation/update_figures.py
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from msrn.network.config import MSRNConfig
from msrn.network.weights import Weights, load, tensors_of

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LONG, SHORT, PLAIN, LINE = "#00695c", "#e65100", "#eceff1", "#37474f"
SHOWN = "msrn-m6r6-sr"


def figures() -> dict[str, str]:
    """Every figure's file and its SVG."""
    return {
        "network.svg": _svg(820, 250, "The network: M memory blocks and one weighted sum", _network()),
        "memory_block.svg": _svg(820, 250, "A memory block: recursions, then a gate", _block()),
        "gates.svg": _gates(load(SHOWN)),
    }


def sizes() -> str:
    """The table of sizes: parameters with a bias each, multiply-adds per pixel, reach."""
    rows = ["| network | parameters | multiply-adds per pixel | a pixel sees |", "|---|---|---|---|"]
    shapes = {
        "M6R6, the paper's": MSRNConfig(),
        "M4R1, 64 channels, half resolution (`m4r1s2`)": MSRNConfig(4, 1, 64, unshuffle=2),
        "M6R1, 96 channels, half resolution (`m6r1s2`)": MSRNConfig(6, 1, 96, unshuffle=2),
    }
    for name, config in shapes.items():
        counted = (shape for key, shape in tensors_of(config).items() if not key.endswith(("mean", "var", "tracked")))
        number = sum(int(np.prod(shape)) for shape in counted)
        rows.append(
            f"| {name} | {number:,} | {config.multiply_adds_per_pixel:,} | {config.receptive_radius} around it |"
        )
    return "\n".join(rows)


def _svg(width: int, height: int, title: str, parts: Iterator[str]) -> str:
    arrow = (
        f'<marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="15" '
        f'role="img"><title>{title}</title><defs>{arrow}</defs><rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _box(x: float, y: float, wide: float, lines: Sequence[str], fill: str = PLAIN, ink: str = "#000") -> str:
    """A box of 20 pixels a line, its middle at y."""
    high = 20 * len(lines) + 14
    words = "".join(
        f'<text x="{x + wide / 2}" y="{y - high / 2 + 22 + 20 * n}" text-anchor="middle" fill="{ink}">{line}</text>'
        for n, line in enumerate(lines)
    )
    return (
        f'<rect x="{x}" y="{y - high / 2}" width="{wide}" height="{high}" rx="5" fill="{fill}" stroke="{LINE}"/>{words}'
    )


def _path(*points: tuple[float, float], color: str = LINE, head: bool = True) -> str:
    drawn = "M" + "L".join(f"{x} {y}" for x, y in points)
    end = ' marker-end="url(#a)"' if head else ""
    return f'<path d="{drawn}" fill="none" stroke="{color}" stroke-width="1.6"{end}/>'


def _words(x: float, y: float, text: str, color: str = "#000") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle" fill="{color}">{text}</text>'


def _network() -> Iterator[str]:
    """x, features, M blocks that all read what is before them, and M images that are summed."""
    y = 90
    yield _words(20, y + 5, "x")
    yield _path((30, y), (58, y))
    yield _box(60, y, 92, ("features", "B₀"))
    blocks = [(200, "block 1"), (350, "block 2"), (540, "block M")]
    yield _path((152, y), (198, y))
    for number, (x, name) in enumerate(blocks):
        yield _box(x, y, 92, (name, f"B{'₁₂ₘ'[number]}"), LONG, "#fff")
    yield _path((292, y), (348, y))
    yield _path((442, y), (475, y), head=False)
    yield _words(490, y + 5, "…")
    yield _path((505, y), (538, y))
    for start, ends in ((170, (330, 520)), (310, (520,))):  # what earlier memories reach
        for end in ends:
            top = 30 if start == 170 else 45
            yield _path((start, y), (start, top), (end, top), (end, y - 12), (end + 18, y - 12), color=LONG)
    for x, name in ((246, "y₁"), (396, "y₂"), (586, "yₘ")):
        yield _path((x, y + 27), (x, 168))
        yield _box(x - 60, 187, 120, (f"{name} = x + recon",))
        yield _path((x + 60, 187), (x + 60, 225), (688, 225), head=False)
    yield _path((688, 225), (688, 112))
    yield _box(650, 90, 140, ("Σ w · y", "the result"), SHORT, "#fff")
    yield _words(400, 22, "every block also reads all memories before it", LONG)


def _block() -> Iterator[str]:
    """Recursions with shared convolutions, and the gate that reads what they and all blocks before gave."""
    y = 150
    yield _words(34, y + 5, "Bₘ₋₁")
    yield _path((58, y), (88, y))
    for number, x in enumerate((90, 250, 440)):
        name = ("H₁", "H₂", "Hᵣ")[number]
        yield _box(x, y, 110, ("BN ReLU conv", "BN ReLU conv", "+ its input"), "#fff3e0")
        yield _path((x + 110, y), (x + 138, y), head=number == 0)
        yield _path((x + 124, y), (x + 124, 222), (640, 222), color=SHORT, head=False)
        yield _words(x + 122, y - 12, name, SHORT)
    yield _words(406, y + 5, "…")
    yield _path((418, y), (438, y))
    yield _path((640, 222), (640, 178), color=SHORT)
    yield _box(602, y, 146, ("gate", "BN ReLU conv 1×1"), LONG, "#fff")
    yield _path((748, y), (776, y))
    yield _words(796, y + 5, "Bₘ")
    yield _path((34, 130), (34, 70), (665, 70), (665, 121), color=LONG)
    yield _words(350, 60, "long-term: B₀ … Bₘ₋₁, of all blocks before", LONG)
    yield _words(350, 242, "short-term: H₁ … Hᵣ, of each recursion", SHORT)
    yield _words(270, 100, "the same two convolutions in all recursions, BatchNorms of their own")


def _gates(weights: Weights) -> str:
    """How much each gate takes of each memory: the norm of its weights, BatchNorm's scale included."""
    config = weights.card.config
    blocks, recursions, channels = config.memory_blocks, config.recursions, config.channels
    size, left, top = 62, 110, 60
    names = [f"B{n}" for n in range(blocks)] + [f"H{r + 1}" for r in range(recursions)]
    parts = [_words(left + size * (n + 0.5), top - 12, name) for n, name in enumerate(names)]
    for m in range(blocks):
        weight = np.asarray(weights.arrays[f"blocks.{m}.gate.weight"], np.float64)[:, :, 0, 0]
        scale = np.asarray(weights.arrays[f"blocks.{m}.gate_norm.weight"], np.float64)
        taken = np.sqrt(((weight * scale) ** 2).sum(0).reshape(-1, channels).sum(1))
        shares = taken / taken.sum()
        parts.append(_words(left - 50, top + size * (m + 0.5) + 5, f"block {m + 1}"))
        for n, share in enumerate(shares):
            column = n if n <= m else blocks + n - m - 1
            ink = "#fff" if share > 0.6 else "#000"
            x, y = left + size * column, top + size * m
            parts.append(
                f'<rect x="{x}" y="{y}" width="{size - 3}" height="{size - 3}" fill="{LONG}" '
                f'fill-opacity="{share:.3f}" stroke="#b0bec5"/>'
                + _words(x + size / 2, y + size / 2 + 4, f"{share:.0%}", ink)
            )
    wide = left + size * len(names) + 20
    return _svg(wide, top + size * blocks + 20, f"Shares of the memories in the gates of {SHOWN}", iter(parts))


if __name__ == "__main__":
    for file, text in figures().items():
        (IMAGES / file).write_text(text, encoding="utf-8")
        print(IMAGES / file)
    print(sizes())
