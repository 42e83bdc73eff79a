"""The map of effects as a heat map: what each (blueprint, site) is worth under each hidden deficit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tamiyo_trl.studies.effects.map import Effects


def effects_map(effects: Effects, title: str, path: Path) -> None:
    """Draw the net gains over never-grow in points, deficits by arms.

    A frame marks each deficit's best choice; what does not differ from nothing (its interval holds 0) is grey.
    """
    gains = 100 * (effects.net[:, 1:] - effects.net[:, :1]).mean(-1)
    names = effects.arms[1:]
    figure = Figure(figsize=(2.4 + 0.55 * len(names), 2.0 + 0.5 * len(effects.deficits)), layout="constrained")
    axis = figure.subplots()
    reach = float(np.nanmax(np.abs(gains)))
    image = axis.imshow(gains, cmap="RdBu", vmin=-reach, vmax=reach, aspect="auto")
    for row, column in np.ndindex(gains.shape):
        if np.isfinite(gains[row, column]):
            shown = effects.gain(row, column + 1).excludes_zero
            strong = "white" if abs(gains[row, column]) > 0.6 * reach else "black"
            text = f"{gains[row, column]:+.0f}" if abs(gains[row, column]) >= 0.5 else "0"
            colour, weight = (strong, "bold") if shown else ("#8c8c8c", "normal")
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color=colour, weight=weight)
    for row, arm in enumerate(effects.best):
        column = arm - 1 if arm else -0.5  # never-grow stands left of the map
        axis.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1 if arm else 0.12, 1, fill=False, lw=2, clip_on=False, zorder=3)
        )
    kinds = [name.partition("@")[0] for name in names]
    for place in range(1, len(kinds)):
        if kinds[place] != kinds[place - 1]:
            axis.axvline(place - 0.5, color="white", lw=3)
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axis.set_yticks(range(len(effects.deficits)), effects.deficits, fontsize=9)
    axis.set_xlabel("blueprint@site  (frame: best choice; bold: 95% interval without 0; grey: with 0)", fontsize=8)
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, label="net gain (points)")
    figure.savefig(path, dpi=130)
