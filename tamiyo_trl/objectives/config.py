"""The settings of the learner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from tamiyo_trl.errors import ConfigError

Refresh = Literal["never", "epoch"]
ValueNormName = Literal["running", "none"]


@dataclass(frozen=True)
class PPOConfig:
    """Settings of `PPOLearner`.

    Attributes:
        slice_len: steps a gradient flows back through, from the stored hidden state at the slice's start (truncated
            back-propagation through time); the rollout length or more means whole rows. Longer learned better wherever
            it was compared: docs/recurrent_ppo.md.
        epochs: passes over each batch, every step exactly once per pass.
        minibatches: optimiser steps per pass; at most the number of slices in a batch.
        lr: Adam's learning rate, at the start of training.
        lr_end: the same at the end, reached linearly in frames; None keeps it constant.
        adam_eps: Adam's epsilon. Source: Huang et al. 2022, "The 37 implementation details of PPO", detail 3.
        clip_epsilon: the ratio is clipped to 1 +- this. Source: Schulman et al. 2017, "Proximal policy optimization
            algorithms", eq. 7.
        gamma: discount per step, in [0, 1].
        gae_lambda: lambda of the generalised advantage estimate, in [0, 1]. Source: Schulman et al. 2016, eq. 16.
        entropy_coeff: weight of the entropy bonus (nats), at the start of training.
        entropy_end: the same at the end, reached linearly in frames; None keeps it constant.
        entropy_weights: relative weight of single action heads by name; a head that is not named has weight 1.
        value_coeff: weight of the squared value error.
        max_grad_norm: the gradient's global 2-norm is scaled down to this.
        target_kl: the update stops before the optimiser step at which the estimated KL divergence from the collecting
            policy (nats) exceeds 1.5 times this; infinity never stops. Source: OpenAI Spinning Up, PPO.
        advantage_std_floor: advantages are divided by their standard deviation over the batch, never by less than
            this, in units of the value normaliser's scale.
        refresh: "never" keeps the hidden states of collection for all epochs; "epoch" renews them, and with them the
            values and advantages, under the current weights before every epoch but the first.
        value_norm: "running" lets the critic predict returns standardised by their running mean and deviation
            (constant while a batch is collected and learned from); "none" lets it predict returns as they are.
        ratio_tolerance: largest |probability ratio - 1| accepted on a batch's first minibatch.
    """

    slice_len: int = 32
    epochs: int = 4
    minibatches: int = 4
    lr: float = 3e-4
    lr_end: float | None = None
    adam_eps: float = 1e-5
    clip_epsilon: float = 0.2
    gamma: float = 0.99
    gae_lambda: float = 0.95
    entropy_coeff: float = 0.05
    entropy_end: float | None = None
    entropy_weights: Mapping[str, float] = field(default_factory=dict)
    value_coeff: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float = 0.015
    advantage_std_floor: float = 1e-4
    refresh: Refresh = "never"
    value_norm: ValueNormName = "running"
    ratio_tolerance: float = 1e-4

    def __post_init__(self) -> None:
        for name in ("slice_len", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1: {getattr(self, name)}")
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1]: {getattr(self, name)}")
        if not 0 < self.clip_epsilon < 1:
            raise ConfigError(f"clip_epsilon must lie strictly between 0 and 1: {self.clip_epsilon}")
        for name in ("adam_eps", "max_grad_norm", "target_kl", "advantage_std_floor", "ratio_tolerance"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive: {getattr(self, name)}")
        for name in ("lr", "entropy_coeff", "value_coeff"):
            _check_finite_not_negative(name, getattr(self, name))
        for name in ("lr_end", "entropy_end"):
            if getattr(self, name) is not None:
                _check_finite_not_negative(name, getattr(self, name))
        for head, weight in self.entropy_weights.items():
            _check_finite_not_negative(f"entropy_weights[{head!r}]", weight)
        for name, choices in (("refresh", get_args(Refresh)), ("value_norm", get_args(ValueNormName))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} must be one of {', '.join(choices)}: {getattr(self, name)!r}")

    def lr_at(self, progress: float) -> float:
        """Return the learning rate at this share of the training, 0..1."""
        return _between(self.lr, self.lr_end, progress)

    def entropy_coeff_at(self, progress: float) -> float:
        """Return the weight of the entropy bonus at this share of the training, 0..1."""
        return _between(self.entropy_coeff, self.entropy_end, progress)


def _between(start: float, end: float | None, progress: float) -> float:
    return start if end is None else start + (end - start) * progress


def _check_finite_not_negative(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name} must be finite and not negative: {value}")
