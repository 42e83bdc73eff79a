"""What a Grower knows of the one model that it watches: the lives of its seeds, what was measured, what is remembered.

The rules are GrowthEnv's own: the same life cycle, masks, readings, history and feature tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tamiyo_trl.envs.growth.actions import action_name
from tamiyo_trl.envs.growth.masks import germination_gate, joint_mask, why_illegal
from tamiyo_trl.envs.growth.observations import observe
from tamiyo_trl.envs.growth.readings import History, Readings
from tamiyo_trl.errors import IllegalActionError
from tamiyo_trl.grow.seat import Action
from tamiyo_trl.grow.space import GrowthSpace
from tamiyo_trl.seeds import Lifecycle, Stage
from tamiyo_trl.seeds.lifecycle import Op


@dataclass(frozen=True)
class Measured:
    """One epoch's measurements. Losses are nats, accuracies fractions 0..1.

    Attributes:
        train_loss, train_accuracy: Means over the epoch.
        val_loss, val_accuracy: After it, on the validation split.
        contribution: Validation accuracy with the live seed minus without it (in the incubator: with it at alpha 1
            minus without), or None where it was not measured.
        host_grad_norm, seed_grad_norm: Epoch means; 0 where no one reads them.
    """

    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    contribution: float | None = None
    host_grad_norm: float = 0.0
    seed_grad_norm: float = 0.0


class Ledger:
    """Lives, readings and history of one model.

    Args:
        space: What the controller knows.
        epochs: Length of the training.
        host_parameters: Parameters of the model without seeds.
        available: bool [S, K], which blueprints can be planted at which site; all false where there is no site.
    """

    def __init__(self, space: GrowthSpace, epochs: int, host_parameters: int, available: Tensor) -> None:
        self.space, self.epochs, self.host_parameters, self.available = space, epochs, host_parameters, available
        self.lifecycle = Lifecycle(space.lifecycle, 1, space.sites)
        self.now, self.before = Readings.blank(1, space.sites), Readings.blank(1, space.sites)
        self.history = History.blank(1, space.sites, len(space.blueprints))
        self.begun, self.germinated = False, 0

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return int(self.now.step[0])

    @property
    def live_site(self) -> int:
        """Site of the live seed; -1 without one."""
        live = self.lifecycle.is_live[0]
        return int(live.long().argmax()) if bool(live.any()) else -1

    @property
    def gate(self) -> Tensor:
        """Whether germination is open, bool [1]."""
        return germination_gate(self.lifecycle, self.now.step, self.epochs, self.history, self.space.max_kept)

    @property
    def mask(self) -> Tensor:
        """The legal actions, bool [1, ops, S, K]."""
        mask = joint_mask(self.lifecycle, self.gate, len(self.space.blueprints))
        mask[:, Op.GERMINATE] &= self.available
        return mask

    @property
    def observation(self) -> Tensor:
        """What the controller sees, float32 [1, F]."""
        scene = self.space.scene(self.now, self.before, self.history, self.epochs, self.host_parameters)
        return observe(self.space.features, scene)

    def begin(self, measured: Measured) -> None:
        """Write down what the model does before any training."""
        self._write(self.now, measured)
        self.before = self.now.clone()
        self.history.reset(torch.ones(1, dtype=torch.bool), self.now)
        self.begun = True

    def record(self, measured: Measured, added_parameters: int) -> None:
        """Let one epoch pass, at whose end this was measured."""
        now = self.now.clone()
        now.step = now.step + 1
        self._write(now, measured)
        now.added_parameters = torch.tensor([float(added_parameters)])
        self.lifecycle.advance()
        for name in ("stage", "age", "in_stage", "alpha"):
            setattr(now, name, getattr(self.lifecycle, name).clone())
        if self.begun:
            self.before = self.now
            self.history.record(self.before, now)
        else:  # nothing was measured before: the first changes read 0
            self.before = now.clone()
            self.history.reset(torch.ones(1, dtype=torch.bool), now)
            self.begun = True
        self.now = now

    def act(self, action: Action) -> None:
        """Carry an action out in the books.

        Raises:
            IllegalActionError: the mask forbids it; nothing has happened then.
        """
        self._check_legal(action)
        op, site, kind = action
        accuracy = float(self.now.val_accuracy[0])
        self.now.op = torch.tensor([op])
        if op == Op.GERMINATE:
            self.lifecycle.move(0, site, Stage.TRAINING)
            self.now.blueprint[0, site] = kind
            self.history.plant(0, site, kind, accuracy)
            self.germinated += 1
        elif op != Op.WAIT:
            self.history.decide(0, site, int(self.now.blueprint[0, site]), accuracy)
            self.lifecycle.move(0, site, Stage.FOSSILIZED if op == Op.FOSSILIZE else Stage.CULLED)
            if op == Op.CULL:
                self.now.blueprint[0, site] = -1

    def load(self, state: dict[str, Any]) -> None:
        """Take the books over from a Grower's state."""
        self.lifecycle.load_state_dict(state["lifecycle"])
        self.now, self.before = Readings(**state["now"]).clone(), Readings(**state["before"]).clone()
        self.history = History(**{name: value.clone() for name, value in state["history"].items()})
        self.begun, self.germinated = state["begun"], state["germinated"]

    def _check_legal(self, action: Action) -> None:
        sizes = tuple(self.mask.shape[1:])
        if len(action) != 3 or not all(0 <= value < size for value, size in zip(action, sizes)):
            raise IllegalActionError(f"epoch {self.epoch}: action {action} is outside of {sizes}")
        op, site, kind = action
        if not bool(self.mask[0, op, site, kind]):
            planted = op == Op.GERMINATE and not bool(self.available[site, kind])
            reason = (
                "no such seed fits there" if planted else why_illegal(self.lifecycle, 0, action, self.space.max_kept)
            )
            name = action_name(action, self.space.blueprints)
            raise IllegalActionError(f"epoch {self.epoch}: {name} {action} is illegal: {reason}")

    def _write(self, readings: Readings, measured: Measured) -> None:
        for name, value in vars(measured).items():
            setattr(readings, name, torch.tensor([float(value or 0.0)]))
        readings.has_contribution = torch.tensor([measured.contribution is not None])
