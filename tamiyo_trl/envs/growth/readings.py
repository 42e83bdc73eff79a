"""What is measured of every host after a step, and what is remembered of its episode."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

WINDOW = 5
PLATEAU_GAIN = 0.005  # fraction of accuracy below which a step counts as no gain (domain rules 2.7)


def _row_assign(target: object, rows: Tensor, source: object) -> None:
    """Copy the flagged rows (bool [E]) of every tensor field."""
    for item in fields(target):  # type: ignore[arg-type]  # both are dataclass instances
        getattr(target, item.name)[rows] = getattr(source, item.name)[rows]


@dataclass
class Readings:
    """Measurements of E hosts after one step. Accuracies are fractions, losses nats; one row per host.

    Attributes:
        step: Env steps taken, int64 [E].
        val_age: Steps since what stands under `val_` was measured, int64 [E].
        train_loss, train_accuracy: Means over the epoch's training images, float32 [E].
        val_loss, val_accuracy: On the validation split, float32 [E].
        contribution: Validation accuracy gained by the live seed's presence (in the incubator: gained if it stood at
            alpha 1), float32 [E]; 0 where `has_contribution` is false.
        has_contribution: Whether a live seed was there to be measured, bool [E].
        host_grad_norm, seed_grad_norm: Epoch means of the gradient norms, float32 [E].
        added_parameters: Parameters of all seeds present, float32 [E].
        stage, age, in_stage: Of every site, int64 [E, S].
        alpha: Of every site in the coming epoch, float32 [E, S].
        blueprint: Of the seed at every site, int64 [E, S]; -1 for none.
        op: The last action's op, int64 [E]; WAIT at the start.
    """

    step: Tensor
    val_age: Tensor
    train_loss: Tensor
    train_accuracy: Tensor
    val_loss: Tensor
    val_accuracy: Tensor
    contribution: Tensor
    has_contribution: Tensor
    host_grad_norm: Tensor
    seed_grad_norm: Tensor
    added_parameters: Tensor
    stage: Tensor
    age: Tensor
    in_stage: Tensor
    alpha: Tensor
    blueprint: Tensor
    op: Tensor

    @classmethod
    def blank(cls, n_hosts: int, n_sites: int) -> Readings:
        """Return zeros of the right shapes."""
        number, count = torch.zeros(n_hosts), torch.zeros(n_hosts, dtype=torch.long)
        sites = torch.zeros(n_hosts, n_sites, dtype=torch.long)
        shapes = {"step": count, "val_age": count, "op": count}
        shapes |= {"has_contribution": count.bool(), "alpha": sites.float()}
        shapes |= {"stage": sites, "age": sites, "in_stage": sites, "blueprint": sites - 1}
        return cls(**{item.name: shapes.get(item.name, number).clone() for item in fields(cls)})

    def clone(self) -> Readings:
        """Return a copy that shares nothing."""
        return Readings(**{item.name: getattr(self, item.name).clone() for item in fields(self)})

    def held(self, last: Readings, held: Tensor) -> Readings:
        """Return these readings, where `held` (bool [E]) with the validation of `last`, older by a step.

        A contribution belongs to the seed it was measured of, so an old one is not shown: it counts as not measured.
        """
        shown = self.clone()
        shown.val_age = torch.where(held, last.val_age + 1, 0)
        shown.val_loss = torch.where(held, last.val_loss, self.val_loss)
        shown.val_accuracy = torch.where(held, last.val_accuracy, self.val_accuracy)
        shown.contribution = self.contribution.masked_fill(held, 0.0)
        shown.has_contribution = self.has_contribution & ~held
        return shown

    def assign(self, rows: Tensor, source: Readings) -> None:
        """Take over the flagged rows (bool [E]) of other readings."""
        _row_assign(self, rows, source)


@dataclass
class History:
    """What a controller with hand-made memory would have written down, per host (see observation set `summary`).

    Attributes:
        val_losses, val_accuracies: The last five, newest last, float32 [E, 5]; valid where `window_valid`.
        window_valid: bool [E, 5].
        best_accuracy: Best validation accuracy so far, float32 [E].
        plateau: Steps in a row that gained less than half a point, int64 [E].
        calm: Steps in a row whose loss improved by less than 3 %, int64 [E].
        stabilised: Whether `calm` ever reached 3, bool [E] (domain rules 2.7).
        germination_accuracy: Validation accuracy when the live seed was planted, float32 [E]; 0 without one.
        initial_accuracy: Validation accuracy before any training, float32 [E].
        tried: How often each blueprint was germinated at each site, float32 [E, S, K].
        outcome: Accuracy change over the life of the last decided seed of each blueprint at each site,
            float32 [E, S, K]; 0 where none was decided.
    """

    val_losses: Tensor
    val_accuracies: Tensor
    window_valid: Tensor
    best_accuracy: Tensor
    plateau: Tensor
    calm: Tensor
    stabilised: Tensor
    germination_accuracy: Tensor
    initial_accuracy: Tensor
    tried: Tensor
    outcome: Tensor

    @classmethod
    def blank(cls, n_hosts: int, n_sites: int, n_blueprints: int) -> History:
        """Return zeros of the right shapes."""
        window, number = torch.zeros(n_hosts, WINDOW), torch.zeros(n_hosts)
        record, count = torch.zeros(n_hosts, n_sites, n_blueprints), torch.zeros(n_hosts, dtype=torch.long)
        return cls(
            val_losses=window,
            val_accuracies=window.clone(),
            window_valid=window.bool(),
            best_accuracy=number,
            plateau=count,
            calm=count.clone(),
            stabilised=count.bool(),
            germination_accuracy=number.clone(),
            initial_accuracy=number.clone(),
            tried=record,
            outcome=record.clone(),
        )

    def reset(self, rows: Tensor, now: Readings) -> None:
        """Forget the flagged hosts (bool [E]) and write down their first measurement."""
        for item in fields(self):
            getattr(self, item.name)[rows] = 0
        self._push(rows, now)
        self.initial_accuracy[rows] = now.val_accuracy[rows]

    def record(self, before: Readings, now: Readings) -> None:
        """Write down a step of every host."""
        little = now.val_accuracy - before.val_accuracy < PLATEAU_GAIN
        self.plateau = torch.where(little, self.plateau + 1, 0)
        improvement = (before.val_loss - now.val_loss) / before.val_loss.clamp(min=1e-8)
        is_calm = (improvement < 0.03) & (improvement > -0.05)
        self.calm = torch.where(is_calm, self.calm + 1, 0)
        self.stabilised |= self.calm >= 3
        self._push(torch.ones_like(self.stabilised), now)

    def plant(self, host: int, site: int, kind: int, accuracy: float | Tensor) -> None:
        """Write down that a seed of blueprint number `kind` was planted at this validation accuracy."""
        self.germination_accuracy[host] = accuracy
        self.tried[host, site, kind] += 1

    def decide(self, host: int, site: int, kind: int, accuracy: float | Tensor) -> None:
        """Write down that the live seed was kept or removed at this validation accuracy."""
        self.outcome[host, site, kind] = accuracy - self.germination_accuracy[host]

    def _push(self, rows: Tensor, now: Readings) -> None:
        for window, value in (
            (self.val_losses, now.val_loss),
            (self.val_accuracies, now.val_accuracy),
            (self.window_valid, torch.ones_like(rows)),
        ):
            window[rows] = torch.cat([window[rows, 1:], value[rows, None]], dim=-1)
        self.best_accuracy[rows] = torch.maximum(self.best_accuracy, now.val_accuracy)[rows]
