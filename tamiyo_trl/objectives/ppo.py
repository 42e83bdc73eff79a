"""PPOLearner: clipped PPO on slices of recurrent, masked rollouts."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from tensordict import TensorDictBase

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError, NonFiniteError, RatioError
from tamiyo_trl.objectives.advantages import Estimates, estimate, standardise
from tamiyo_trl.objectives.causes import likely_cause
from tamiyo_trl.objectives.config import PPOConfig
from tamiyo_trl.objectives.loss import SliceClipPPOLoss, kl_estimate
from tamiyo_trl.objectives.metrics import Averages, StepLog, explained_variance, hidden_metrics
from tamiyo_trl.objectives.refresh import renew
from tamiyo_trl.objectives.row_checks import check_rows
from tamiyo_trl.objectives.slices import Slices, as_rows
from tamiyo_trl.objectives.value_norm import fold, initialise, make_value_norm
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.seeding import generator

KL_MARGIN = 1.5  # Source: OpenAI Spinning Up, PPO
NON_FINITE_LIMIT = 3


class PPOLearner:
    """Improves an actor-critic from the batches it collected.

    The learner owns the optimiser, the schedules and all running statistics; the networks are the actor-critic's own,
    so a collector that shares them needs no weight transfer.

    Attributes:
        actor_critic: what is trained.
        config: the settings.
        total_frames: environment steps of the whole training; None where nothing depends on it.
        frames: environment steps learned from so far.
        updates: batches learned from so far.
        skipped_steps: optimiser steps skipped so far because a loss or gradient was not finite.
    """

    def __init__(
        self,
        actor_critic: ActorCritic,
        config: PPOConfig | None = None,
        *,
        seed: int = 0,
        total_frames: int | None = None,
    ) -> None:
        """Prepare to train `actor_critic`; `seed` decides the order of the minibatches.

        Over `total_frames` environment steps, all environments together, `lr` and `entropy_coeff` reach `lr_end` and
        `entropy_end`, and stay there.

        Raises:
            ConfigError: an entropy weight names a head the policy does not have; an end is given without
                `total_frames`.
        """
        self.actor_critic = actor_critic
        self.config = config if config is not None else PPOConfig()
        self.total_frames = total_frames
        self._check_total_frames()
        self.frames = self.updates = self.skipped_steps = 0
        self._skipped_in_a_row = 0
        self._generator = generator(seed, "minibatches")
        self._loss = self._make_loss()
        self._parameters = list(actor_critic.parameters())
        self._device = self._parameters[0].device
        self._optimiser = torch.optim.Adam(self._parameters, lr=self.config.lr, eps=self.config.adam_eps, fused=True)
        self._value_norm = make_value_norm(self.config.value_norm).to(self._device)

    def _check_total_frames(self) -> None:
        if self.total_frames is not None and self.total_frames < 1:
            raise ConfigError(f"total_frames must be at least 1: {self.total_frames}")
        for name in ("lr_end", "entropy_end"):
            end = getattr(self.config, name)
            if end is not None and self.total_frames is None:
                raise ConfigError(
                    f"{name} = {end} needs the frames it is reached in: PPOLearner(..., total_frames=...)"
                )

    @property
    def progress(self) -> float:
        """Share of the training that is done, 0..1; 0 where its length is not known."""
        return min(self.frames / self.total_frames, 1.0) if self.total_frames is not None else 0.0

    def _make_loss(self) -> SliceClipPPOLoss:
        config, heads, weights = self.config, self.actor_critic.head_names, self.config.entropy_weights
        unknown = sorted(set(weights) - set(heads))
        if unknown:
            raise ConfigError(f"entropy_weights names unknown heads {unknown}; the policy has {list(heads)}")
        every = {head: weights.get(head, 1.0) for head in heads}
        return SliceClipPPOLoss(self.actor_critic, config.clip_epsilon, config.value_coeff, every)

    def update(self, batch: TensorDictBase) -> dict[str, float]:
        """Learn from `batch` [*, T], which is left as it is, and return the update's metrics.

        Raises:
            SpecError: the batch lacks an entry the update reads (hidden states, is_init, ...) or has no time dimension,
                or its steps do not follow each other.
            IllegalActionError: a stored action that its own stored mask forbids, or a mask that forbids everything.
            ConfigError: more minibatches than slices.
            RatioError: before any step, a probability ratio was not 1; the message names the likely cause.
            NonFiniteError: three optimiser steps in a row had a loss or gradient that was not finite.
        """
        self.actor_critic.check_batch(batch)
        rows = as_rows(batch).detach()
        check_rows(self.actor_critic, rows)
        if rows.device != self._device:
            rows = rows.to(self._device)
        Slices.check(rows.shape[0], rows.shape[1], self.config.slice_len, self.config.minibatches)
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.lr_at(self.progress)
        estimates = self._estimate(rows)
        initialise(self._value_norm, estimates.target)
        steps = StepLog()
        self._run_epochs(rows, estimates, steps)
        metrics = self._batch_metrics(rows, estimates) | steps.result()
        self._finish(rows, estimates)
        return metrics

    def _estimate(self, rows: TensorDictBase) -> Estimates:
        config = self.config
        return estimate(
            rows, self.actor_critic.critic, self._value_norm, gamma=config.gamma, gae_lambda=config.gae_lambda
        )

    def _slice(self, rows: TensorDictBase, estimates: Estimates) -> Slices:
        """Return the slices of `rows` with normalised advantages and value targets, and nothing the loss ignores."""
        data = rows.select(*self.actor_critic.training_keys).exclude(keys.STATE_VALUE)
        scale = self._value_norm.scale().to(self._device)
        data[keys.ADVANTAGE] = standardise(estimates.advantage / scale, self.config.advantage_std_floor)
        data[keys.VALUE_TARGET] = self._value_norm.normalize(estimates.target)
        return Slices(data, self.config.slice_len)

    def _run_epochs(self, rows: TensorDictBase, estimates: Estimates, steps: StepLog) -> None:
        config, actor_critic = self.config, self.actor_critic
        slices = self._slice(rows, estimates)
        for epoch in range(config.epochs):
            if epoch > 0 and config.refresh == "epoch":
                rows = renew(rows, actor_critic.walk, actor_critic.state_keys)
                slices = self._slice(rows, self._estimate(rows))
            steps.begin_epoch()
            for parts in slices.minibatches(config.minibatches, self._generator):
                if not self._step(parts, steps):
                    return
                if self._skipped_in_a_row >= NON_FINITE_LIMIT:
                    raise NonFiniteError(
                        f"loss or gradient was not finite in {NON_FINITE_LIMIT} steps in a row; "
                        f"not finite in the batch: {self._non_finite_entries(rows)}"
                    )

    def _step(self, parts: list[TensorDictBase], steps: StepLog) -> bool:
        """Take one optimiser step on a minibatch; return whether the update goes on (False: the KL is too large)."""
        total, log_ratio, values = self._evaluate(parts)
        if steps.taken == 0:
            self._check_ratio(log_ratio, parts, steps)
        kl = float(kl_estimate(log_ratio))
        steps.see(kl)
        if kl > KL_MARGIN * self.config.target_kl:
            steps.stopped = True
            return False
        self._forget_gradient()
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.max_grad_norm)
        if not math.isfinite(float(total.detach() + norm)):
            self._forget_gradient()
            steps.skipped += 1
            self.skipped_steps += 1
            self._skipped_in_a_row += 1
            return True
        self._optimiser.step()
        self._skipped_in_a_row = 0
        steps.take(values | {"ppo/grad_norm": norm})
        return True

    def _forget_gradient(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def _evaluate(self, parts: list[TensorDictBase]) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Return loss, log-ratios [n] and detached metrics of a minibatch: means over its steps, whatever the parts."""
        if len(parts) == 1:
            values, log_ratio = self._values(parts[0])
        else:
            frames, averages, log_ratios = sum(part.numel() for part in parts), Averages(), []
            for part in parts:
                some, log_ratio = self._values(part)
                averages.add(some, part.numel() / frames)
                log_ratios.append(log_ratio)
            values, log_ratio = averages.means(), torch.cat(log_ratios)
        total = values["loss/policy"] + values["loss/value"] + values["loss/entropy"]
        return total, log_ratio, {name: value.detach() for name, value in values.items()}

    def _values(self, part: TensorDictBase) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return weighted loss terms and metrics of slices [S, L], means over their steps, and the log-ratios."""
        out = self._loss(part)
        values = {
            "loss/policy": out.get("loss_objective"),
            "loss/value": out.get("loss_critic"),
            "loss/entropy": self.config.entropy_coeff_at(self.progress) * out.get("loss_entropy"),
            "ppo/clip_fraction": out.get("clip_fraction"),
            "entropy/joint": out.get("entropy"),
        }
        heads = out.get("composite_entropy").items()
        return values | {f"entropy/{head}": entropy for head, entropy in heads}, out.get("log_ratio")

    def _check_ratio(self, log_ratio: torch.Tensor, parts: list[TensorDictBase], steps: StepLog) -> None:
        """Record the ratio before any step, and raise RatioError where it is not 1; NaN is left to the finite check."""
        error = float(torch.expm1(log_ratio).abs().max())
        steps.max_ratio, steps.ratio_error = float(log_ratio.exp().max()), error
        if error > self.config.ratio_tolerance:
            raise RatioError(
                f"before any optimiser step the probability ratio differs from 1 by {error:.3g}, allowed is "
                f"{self.config.ratio_tolerance:g}; likely cause: {likely_cause(self.actor_critic, parts)}"
            )

    def _non_finite_entries(self, rows: TensorDictBase) -> str:
        """Return the names of what the update read that holds NaN or infinity, or what it means that nothing does."""
        actor_critic = self.actor_critic
        following = [("next", key) for key in (keys.REWARD, *actor_critic.bootstrap_keys)]
        names = [
            key if isinstance(key, str) else "/".join(key)
            for key in (*actor_critic.training_keys, *following)
            if (entry := rows.get(key, None)) is not None and entry.is_floating_point() and not entry.isfinite().all()
        ]
        return ", ".join(names) if names else "nothing; the weights or the learning rate are to blame"

    def _batch_metrics(self, rows: TensorDictBase, estimates: Estimates) -> dict[str, float]:
        averages = Averages()
        averages.add(hidden_metrics(rows, self.actor_critic.state_keys))
        averages.add(
            {
                "value/explained_variance": explained_variance(estimates.value, estimates.target),
                "value/mean": estimates.value.mean(),
                "value/target_mean": estimates.target.mean(),
                "value/target_std": estimates.target.std(correction=0),
                "advantage/std": estimates.advantage.std(correction=0),
            }
        )
        return averages.result() | {
            "schedule/lr": self.config.lr_at(self.progress),
            "schedule/entropy_coeff": self.config.entropy_coeff_at(self.progress),
        }

    def _finish(self, rows: TensorDictBase, estimates: Estimates) -> None:
        """Renew the statistics that were frozen while the batch was collected and learned from."""
        for key, normaliser in self.actor_critic.normalisers.items():
            seen = rows[key].flatten(0, 1)
            finite = seen.isfinite().flatten(1).all(-1)
            normaliser.update(seen if finite.all() else seen[finite])
        if self.updates > 0:
            fold(self._value_norm, estimates.target)
        self.frames += rows.numel()
        self.updates += 1

    def settings(self) -> dict[str, str]:
        """Return as text what a resumed training must share: the config, a schedule as its start, end and frames."""
        settings = dataclasses.asdict(self.config)
        for start, end in (("lr", "lr_end"), ("entropy_coeff", "entropy_end")):
            reached = settings.pop(end)
            if reached is not None:
                settings[start] = {"start": settings[start], "end": reached, "frames": self.total_frames}
        return {name: repr(value) for name, value in settings.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything the next update depends on, the networks included."""
        return {
            "actor_critic": self.actor_critic.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "value_norm": self._value_norm.state_dict(),
            "generator": self._generator.get_state(),
            "frames": self.frames,
            "updates": self.updates,
            "skipped_steps": self.skipped_steps,
            "skipped_in_a_row": self._skipped_in_a_row,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.actor_critic.load_state_dict(state["actor_critic"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._value_norm.load_state_dict(state["value_norm"])
        self._generator.set_state(state["generator"])
        self.frames, self.updates = state["frames"], state["updates"]
        self.skipped_steps, self._skipped_in_a_row = state["skipped_steps"], state["skipped_in_a_row"]
