"""The clipped PPO loss on slices: TorchRL's ClipPPOLoss, term by term (tested), without what surrounds it there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase

from tamiyo_trl import keys
from tamiyo_trl.policies.networks import Networks


@dataclass(frozen=True)
class Terms:
    """What one pass over slices says; scalars are means over their steps.

    Attributes:
        policy: the clipped surrogate, to be made small.
        value: the squared error of the value.
        entropies: entropy in nats that each head adds.
        clip_fraction: share of steps whose ratio is clipped; without gradient.
        log_ratio: log(pi_new / pi_old) of every step, float32 [n]; without gradient.
    """

    policy: torch.Tensor
    value: torch.Tensor
    entropies: tuple[torch.Tensor, ...]
    clip_fraction: torch.Tensor
    log_ratio: torch.Tensor


def clipped_terms(networks: Networks, part: TensorDictBase, clip_epsilon: float) -> Terms:
    """Return the loss terms of `networks` on slices `part` [S, L].

    Source: Schulman et al. 2017, eq. 7; clipped in the logarithm, as TorchRL does.
    """
    factors, value = networks.run(part)
    index = networks.interface.heads.decode(_time_first(part, keys.ACTION))
    log_ratio = factors.log_prob(index) - _time_first(part, keys.LOG_PROB)
    advantage = _time_first(part, keys.ADVANTAGE).squeeze(-1)
    clipped = log_ratio.clamp(math.log1p(-clip_epsilon), math.log1p(clip_epsilon))
    gain = torch.minimum(log_ratio.exp() * advantage, clipped.exp() * advantage)
    with torch.no_grad():
        clip_fraction = (clipped != log_ratio).float().mean()
    return Terms(
        policy=-gain.mean(),
        value=(value - _time_first(part, keys.VALUE_TARGET)).pow(2).mean(),
        entropies=tuple(entropy.mean() for entropy in factors.entropies()),
        clip_fraction=clip_fraction,
        log_ratio=log_ratio.detach().flatten(),
    )


def _time_first(part: TensorDictBase, key: str) -> torch.Tensor:
    return part.get(key).transpose(0, 1)


def kl_estimate(log_ratio: torch.Tensor) -> torch.Tensor:
    """Return the mean over steps of an estimate of KL(old || new) in nats that is never negative.

    Source: Schulman 2020, "Approximating KL divergence", estimator k3 = (r - 1) - log r.
    """
    return (torch.expm1(log_ratio) - log_ratio).mean()
