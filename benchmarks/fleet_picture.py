"""Draw how a fleet lies in memory, for docs/fleet.md.

python benchmarks/fleet_picture.py --out docs/fleet.png
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import tyro

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

COLOURS, SEED, GREY = ("#4c78a8", "#f58518", "#54a24b", "#b279a2"), "#e45756", "#dddddd"
WIDTH, HEIGHT = 0.9, 0.6


@dataclass(frozen=True)
class Args:
    """Draw the layout of a fleet.

    Attributes:
        out: File of the picture.
    """

    out: Path = Path("docs/fleet.png")


def box(axes: Axes, x: float, y: float, text: str, colour: str, width: float = WIDTH) -> None:
    """Draw one block of memory."""
    axes.add_patch(Rectangle((x, y), width, HEIGHT, facecolor=colour, edgecolor="white", linewidth=1.5))
    axes.text(x + width / 2, y + HEIGHT / 2, text, ha="center", va="center", fontsize=8, color="black")


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = "#555555") -> None:
    """Draw where something goes."""
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "color": colour, "linewidth": 1.2}
    axes.add_patch(FancyArrowPatch(start, end, **style))


def draw(axes: Axes) -> None:
    """Draw four hosts, two of which have a seed of one blueprint at one site."""
    label: dict[str, Any] = {"fontsize": 9, "va": "center", "ha": "right"}
    axes.text(-0.3, 7.3, "weights of one layer:\na row for each host", **label)
    for host, colour in enumerate(COLOURS):
        box(axes, 2 * host + 0.5, 7, f"host {host}: O x C x 3 x 3", colour, 1.9)
        arrow(axes, (2 * host + 1.45, 6.95), (2 * host + 1.45, 6.25))
    axes.text(-0.3, 5.9, "one call runs them all", **label)
    box(
        axes,
        0.5,
        5.6,
        "grouped convolution or batched matrix product: host e's channels meet host e's weights alone",
        GREY,
        7.9,
    )
    axes.text(-0.3, 4.5, "activation [n, B, H, W, C]:\na row for each host", **label)
    for host, colour in enumerate(COLOURS):
        arrow(axes, (2 * host + 1.45, 5.55), (2 * host + 1.45, 4.85))
        box(axes, 2 * host + 0.5, 4.2, f"{host}: B x H x W x C", colour, 1.9)
    axes.text(-0.3, 2.5, "bank (wide, site 1):\nonly hosts 1 and 3\nhave such a seed", **label)
    for host in (1, 3):
        centre = 2 * host + 1.45
        arrow(axes, (centre, 4.15), (centre, 2.85), COLOURS[host])
        box(axes, 2 * host + 0.5, 2.2, f"seed of host {host}", SEED, 1.9)
        arrow(axes, (centre, 2.15), (centre, 1.2), COLOURS[host])
    axes.text(4.45, 2.5, "copied out, run as\na small fleet,\nblended back", fontsize=8, va="center", ha="left")
    axes.text(-0.3, 0.85, "activation after the site:\nrows 0 and 2 untouched", **label)
    for host, colour in enumerate(COLOURS):
        text = f"{host}: (1 - a) h + a s(h)" if host % 2 else f"{host}: h"
        box(axes, 2 * host + 0.5, 0.55, text, colour, 1.9)
    axes.set(xlim=(-3.4, 8.6), ylim=(0.3, 7.9))
    axes.axis("off")


def main() -> None:
    """Write the picture."""
    args = tyro.cli(Args)
    figure, axes = plt.subplots(figsize=(9.6, 5.4))
    draw(axes)
    figure.tight_layout(pad=0.2)
    figure.savefig(args.out, dpi=130)


if __name__ == "__main__":
    main()
