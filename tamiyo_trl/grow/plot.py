"""What a Grower did, as lines, a table and a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamiyo_trl.envs.growth.actions import action_name
from tamiyo_trl.evaluation import Episode
from tamiyo_trl.evaluation.plots import timeline
from tamiyo_trl.grow.ledger import Measured
from tamiyo_trl.grow.seat import Action
from tamiyo_trl.seeds import Stage

Row = dict[str, float | int | str]


@dataclass(frozen=True)
class GrowthStep:
    """One epoch of a growing model; `print` shows it in one line.

    Attributes:
        epoch, epochs: Epochs trained, and the training's length.
        measured: What was measured of the epoch.
        action: What the controller chose for the next epoch.
        action_name: The same in words.
        stages: Stage of every site in the next epoch.
        seeds: Name of the seed at every site, "" without one.
        alphas: Weight of every seed in the next epoch.
        changed: Whether modules were added or removed: wrap the model for DDP again.
    """

    epoch: int
    epochs: int
    measured: Measured
    action: Action
    action_name: str
    stages: tuple[Stage, ...]
    seeds: tuple[str, ...]
    alphas: tuple[float, ...]
    changed: bool

    def __str__(self) -> str:
        told = self.measured
        lives = [
            f"{name or '-'} {stage.name.lower()}" + (f" {alpha:.2f}" if stage == Stage.BLENDING else "")
            for name, stage, alpha in zip(self.seeds, self.stages, self.alphas)
            if stage != Stage.DORMANT
        ]
        worth = "" if told.contribution is None else f"  seed {100 * told.contribution:+.1f}"
        return (
            f"epoch {self.epoch}/{self.epochs}  train {told.train_loss:.3f} {100 * told.train_accuracy:.1f}%  "
            f"val {told.val_loss:.3f} {100 * told.val_accuracy:.1f}%{worth}  {self.action_name}"
            f"  [{', '.join(lives)}]"
        )

    def to_data(self) -> dict[str, Any]:
        """Return the step as plain data."""
        stages = [int(stage) for stage in self.stages]
        return {**vars(self), "measured": dict(vars(self.measured)), "stages": stages}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> GrowthStep:
        """Return the step that `to_data` described."""
        stages = tuple(Stage(value) for value in data["stages"])
        return cls(**{**data, "measured": Measured(**data["measured"]), "stages": stages})

    @property
    def row(self) -> Row:
        """The step as one row of a table."""
        op, site, kind = self.action
        told = {name: float("nan") if value is None else value for name, value in vars(self.measured).items()}
        sites: Row = {}
        for number, (stage, name, alpha) in enumerate(zip(self.stages, self.seeds, self.alphas)):
            sites |= {f"stage {number}": stage.name, f"seed {number}": name, f"alpha {number}": alpha}
        return {"epoch": self.epoch, **told, "action": self.action_name, "op": op, "site": site, "kind": kind} | sites


def name_of(action: Action, blueprints: tuple[str, ...], sites: Sequence[str]) -> str:
    """Return what people call an action, with the model's own names of its sites."""
    text, number = action_name(action, blueprints), action[1]
    return text.replace(f"site {number}", sites[number]) if number < len(sites) else text


def draw(steps: Sequence[GrowthStep], blueprints: tuple[str, ...], title: str, path: str | os.PathLike[str]) -> None:
    """Draw the accuracy over the epochs, and each seed's life below it."""
    epochs = [step for step in steps if step.epoch > 0]
    # Rows of the picture are epochs as they trained: under what was chosen before them.
    chosen = [step.action for step in steps if step.epoch < epochs[-1].epoch]
    chosen = [(0, 0, 0)] * (len(epochs) - len(chosen)) + chosen
    episode = Episode(
        seed=0,
        deficit=-1,
        final_accuracy=epochs[-1].measured.val_accuracy,
        reward=0.0,
        added_parameters=0.0,
        germinated=sum(op == 1 for op, _, _ in chosen),
        fossilized=sum(op == 2 for op, _, _ in chosen),
        culled=sum(op == 3 for op, _, _ in chosen),
        val_accuracy=np.array([step.measured.val_accuracy for step in epochs]),
        stage=np.array([[int(stage) for stage in step.stages] for step in epochs]),
        blueprint=np.array([[blueprints.index(name) if name else -1 for name in step.seeds] for step in epochs]),
        alpha=np.array([step.alphas for step in epochs]),
        action=np.array(chosen),
    )
    timeline([(title, episode)], blueprints, Path(path))
