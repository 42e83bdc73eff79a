"""Draw the life of a growth site: docs/site_life.png.

python docs/draw_site_life.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from tamiyo_trl.seeds import Lifecycle, LifecycleConfig, Stage

COLOURS = {Stage.DORMANT: "#eeeeee", Stage.TRAINING: "#9ecae1", Stage.BLENDING: "#4292c6", Stage.HOLDING: "#08519c"}
COLOURS |= {Stage.FOSSILIZED: "#238b45"}
SAYS = {
    Stage.DORMANT: "dormant\nout = h",
    Stage.TRAINING: "incubator\nout = h, the seed\nlearns unheard",
    Stage.BLENDING: "blending\nout = (1-a) h + a s(h)",
    Stage.HOLDING: "holding\nout = s(h):\nkeep or cull?",
    Stage.FOSSILIZED: "fossil\nout = s(h) for good",
}

if __name__ == "__main__":
    life = Lifecycle(LifecycleConfig(), 1, 1)
    stages, alphas = [], []
    for epoch in range(12):
        if epoch == 2:
            life.move(0, 0, Stage.TRAINING)
        if epoch == 9:
            life.move(0, 0, Stage.FOSSILIZED)
        stages.append(Stage(int(life.stage[0, 0])))
        alphas.append(float(life.alpha[0, 0]))
        life.advance()
    figure, axis = plt.subplots(figsize=(9, 3.2), layout="constrained")
    for epoch, stage in enumerate(stages):
        axis.axvspan(epoch, epoch + 1, color=COLOURS[stage], alpha=0.55, lw=0)
    for stage in COLOURS:
        own = [epoch for epoch, found in enumerate(stages) if found == stage]
        axis.text(sum(own) / len(own) + 0.5, 1.22, SAYS[stage], ha="center", va="center", fontsize=8)
    axis.stairs(alphas, range(13), color="black", lw=2, label="alpha, the seed's weight in the forward pass")
    axis.annotate("GERMINATE", (2, 0.0), (2, 0.45), ha="center", arrowprops={"arrowstyle": "->"}, fontsize=8)
    axis.annotate("FOSSILIZE", (9, 1.0), (9, 0.45), ha="center", arrowprops={"arrowstyle": "->"}, fontsize=8)
    axis.set(xlim=(0, 12), ylim=(-0.05, 1.45), xlabel="epoch", yticks=(0, 1))
    axis.legend(loc="lower right", fontsize=8)
    figure.savefig(Path(__file__).with_name("site_life.png"), dpi=130)
