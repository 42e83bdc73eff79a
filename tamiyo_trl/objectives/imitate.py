"""Imitation of an informed teacher: the student acts, the teacher says what it would have done, the student learns it.

Source: Ross, Gordon and Bagnell 2011, "A reduction of imitation learning and structured prediction to no-regret online
learning" (DAgger). A recurrent student can come to act as a teacher that sees what it cannot, as far as its own history
tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError, NonFiniteError, SpecError
from tamiyo_trl.objectives.slices import Slices, as_rows
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.seeding import generator

Teacher = Callable[[TensorDictBase], Tensor]
LEAST_LOG_PROB = -1e6  # nats: only a forbidden action is this unlikely


@dataclass(frozen=True)
class ImitationConfig:
    """Settings of `Imitator`.

    Attributes:
        epochs: passes over what is remembered, per update.
        minibatches: optimiser steps per batch remembered and pass; at most the rows of a batch.
        lr: Adam's learning rate.
        entropy_coeff: weight of an entropy bonus (nats): what is left of it keeps the student exploring afterwards.
        max_grad_norm: the gradient's global 2-norm is scaled down to this.
        memory: latest batches that are remembered and learned from (DAgger's growing data set, cut off).
    """

    epochs: int = 2
    minibatches: int = 4
    lr: float = 3e-3
    entropy_coeff: float = 0.0
    max_grad_norm: float = 0.5
    memory: int = 8

    def __post_init__(self) -> None:
        for name in ("epochs", "minibatches", "memory"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1: {getattr(self, name)}")
        for name in ("lr", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive: {getattr(self, name)}")
        if not self.entropy_coeff >= 0:
            raise ConfigError(f"entropy_coeff must not be negative: {self.entropy_coeff}")


class Imitator:
    """Teaches an actor-critic, from the batches it collected itself, to act as a teacher would have acted there.

    It has the `update` and `state_dict` of `PPOLearner`, so a loop that trains with one trains with the other. The loss
    is the negative log-probability of the teacher's action under the student's masks, over whole rows: gradients flow
    through the memory from a row's start to its end. The value is not taught.

    Attributes:
        actor_critic: what is taught.
        config: the settings.
        frames: environment steps learned from so far.
    """

    def __init__(
        self, actor_critic: ActorCritic, teacher: Teacher, config: ImitationConfig | None = None, *, seed: int = 0
    ) -> None:
        """Prepare to teach `actor_critic`; `seed` decides the order of the minibatches.

        `teacher` is given every collected batch, TensorDict [R, T], with all that the environment showed, hidden facts
        included, and returns the actions it would have taken, in the form of the environment's action [R, T, ...].
        """
        self.actor_critic, self.teacher = actor_critic, teacher
        self.config = config if config is not None else ImitationConfig()
        self.frames = 0
        self._generator = generator(seed, "imitation")
        self._parameters = list(actor_critic.policy.parameters())
        self._optimiser = torch.optim.Adam(self._parameters, lr=self.config.lr)
        self._remembered: list[TensorDictBase] = []

    def update(self, batch: TensorDictBase) -> dict[str, float]:
        """Learn from `batch` [*, T], which is left as it is, and return metrics of the last pass.

        "imitation/loss" is in nats; "imitation/agreement" the share of steps at which the action taken in `batch` is
        the teacher's.

        Raises:
            SpecError: the batch lacks an entry, or the teacher's actions are of another shape or forbidden by a mask.
            ConfigError: more minibatches than rows.
            NonFiniteError: the loss is not finite.
        """
        self.actor_critic.check_batch(batch)
        rows = as_rows(batch)
        Slices.check(rows.shape[0], rows.shape[1], rows.shape[1], self.config.minibatches)
        heads = self.actor_critic.networks.interface.heads
        taken, taught = rows[keys.ACTION], self.teacher(rows)
        if taught.shape != taken.shape:
            raise SpecError(f"the teacher's actions must have shape {list(taken.shape)}, got {list(taught.shape)}")
        data = rows.select(*self.actor_critic.training_keys)
        data[keys.ACTION] = taught.to(taken.dtype)
        self._check_legal(data)
        self._remembered = [*self._remembered, data][-self.config.memory :]
        losses = [self._pass() for _ in range(self.config.epochs)]
        for key, normaliser in self.actor_critic.normalisers.items():
            normaliser.update(rows[key])
        self.frames += rows.numel()
        agreement = (heads.decode(taken) == heads.decode(data[keys.ACTION])).all(-1).float().mean()
        return {"imitation/loss": losses[-1], "imitation/agreement": float(agreement)}

    def _check_legal(self, data: TensorDictBase) -> None:
        with torch.no_grad():
            log_prob, _ = self._judge(data)
        forbidden = (log_prob < LEAST_LOG_PROB).nonzero().tolist()
        if forbidden:
            step, row = forbidden[0]
            action = data[keys.ACTION][row, step].tolist()
            raise SpecError(f"the teacher's action {action} at row {row}, step {step} is forbidden by the mask there")

    def _judge(self, data: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [T, R] of the actions in `data` [R, T], and the mean entropy."""
        networks = self.actor_critic.networks
        factors, _ = networks.run(data)
        index = networks.interface.heads.decode(data[keys.ACTION].transpose(0, 1))
        return factors.log_prob(index), torch.stack([entropy.mean() for entropy in factors.entropies()]).sum()

    def _pass(self) -> float:
        """Take every remembered row once, the newest batch last; return the mean loss of the newest."""
        for data in self._remembered:
            losses = []
            for parts in Slices(data, data.shape[1]).minibatches(self.config.minibatches, self._generator):
                log_prob, entropy = self._judge(parts[0])
                loss = -log_prob.mean()
                if not loss.isfinite():
                    raise NonFiniteError(f"the imitation loss is not finite: {float(loss.detach())}")
                self._optimiser.zero_grad()
                (loss - self.config.entropy_coeff * entropy).backward()
                torch.nn.utils.clip_grad_norm_(self._parameters, self.config.max_grad_norm)
                self._optimiser.step()
                losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    def state_dict(self) -> dict[str, Any]:
        """Return everything the next update depends on, networks and remembered batches included."""
        return {
            "actor_critic": self.actor_critic.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generator": self._generator.get_state(),
            "remembered": [data.to_dict() for data in self._remembered],
            "frames": self.frames,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.actor_critic.load_state_dict(state["actor_critic"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])
        self._remembered = [_rows(entries) for entries in state["remembered"]]
        self.frames = state["frames"]


def _rows(entries: dict[str, Any]) -> TensorDictBase:
    return TensorDict(entries, batch_size=entries[keys.IS_INIT].shape[:2])
