"""Equals TorchRL's `ClipPPOLoss` on slices (tests/objectives/test_loss.py), in one pass of each trunk, uncopied."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.objectives import ClipPPOLoss

from tamiyo_trl import keys
from tamiyo_trl.policies import ActorCritic


class SliceClipPPOLoss(ClipPPOLoss):
    """ClipPPOLoss of an actor-critic on slices [S, L], term by term what TorchRL's own forward gives (tested).

    TorchRL's forward copies the slices, runs policy and value head as separate modules and builds a distribution object
    for each question asked of it; here the trunks run once, time first, and every term comes from what they say.

    Args:
        actor_critic: what is trained.
        clip_epsilon: how far a ratio may leave 1.
        value_coeff: weight of the value loss.
        entropy_weights: weight of each head's entropy, by name.
    """

    def __init__(
        self, actor_critic: ActorCritic, clip_epsilon: float, value_coeff: float, entropy_weights: Mapping[str, float]
    ) -> None:
        super().__init__(
            actor_critic.policy,
            actor_critic.value_head,
            clip_epsilon=clip_epsilon,
            entropy_coeff=dict(entropy_weights),
            critic_coeff=value_coeff,
            loss_critic_type="l2",
            functional=False,
            log_explained_variance=False,
        )
        self.networks = actor_critic.networks
        self.head_names = actor_critic.head_names
        self._bounds = math.log1p(-clip_epsilon), math.log1p(clip_epsilon)
        self._value_coeff, self._weights = value_coeff, [entropy_weights[head] for head in self.head_names]

    def forward(self, slices: TensorDictBase) -> TensorDictBase:
        """Return, as means over the steps of `slices` [S, L], the terms of ClipPPOLoss, and the log-ratios.

        "loss_objective", "loss_critic" and "loss_entropy" are weighted and carry gradients. "clip_fraction", "entropy",
        ("composite_entropy", head) and "log_ratio" float32 [S * L], log(pi_new / pi_old), do not.

        Source: Schulman et al. 2017, eq. 7; clipped in the logarithm, as TorchRL does.
        """
        factors, value = self.networks.run(slices)
        index = self.networks.interface.heads.decode(_time_first(slices, keys.ACTION))
        log_ratio = factors.log_prob(index) - _time_first(slices, keys.LOG_PROB)
        advantage = _time_first(slices, keys.ADVANTAGE).squeeze(-1)
        clipped = log_ratio.clamp(*self._bounds)
        gain = torch.minimum(log_ratio.exp() * advantage, clipped.exp() * advantage)
        entropies = [entropy.mean() for entropy in factors.entropies()]
        square = (value - _time_first(slices, keys.VALUE_TARGET)).pow(2).mean()
        heads = {head: entropy.detach() for head, entropy in zip(self.head_names, entropies)}
        return TensorDict(
            {
                "loss_objective": -gain.mean(),
                "loss_critic": self._value_coeff * square,
                "loss_entropy": -_sum([weight * entropy for weight, entropy in zip(self._weights, entropies)]),
                "clip_fraction": (clipped != log_ratio).float().mean(),
                "entropy": _sum(list(heads.values())),
                "composite_entropy": TensorDict(heads),
                "log_ratio": log_ratio.detach().flatten(),
            }
        )


def _sum(terms: list[torch.Tensor]) -> torch.Tensor:
    return sum(terms[1:], terms[0])


def _time_first(part: TensorDictBase, key: str) -> torch.Tensor:
    return part.get(key).transpose(0, 1)


def kl_estimate(log_ratio: torch.Tensor) -> torch.Tensor:
    """Return the mean over steps of an estimate of KL(old || new) in nats that is never negative.

    Source: Schulman 2020, "Approximating KL divergence", estimator k3 = (r - 1) - log r.
    """
    return (torch.expm1(log_ratio) - log_ratio).mean()
