"""TorchRL's ClipPPOLoss over the full policy: what the library's own loss must equal, gradients included."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from torch.distributions import Distribution
from torchrl.objectives import ClipPPOLoss

from tamiyo_trl.policies import ActorCritic


class TorchRLLoss(ClipPPOLoss):
    """ClipPPOLoss that keeps `log_ratio`, log(pi_new / pi_old) of the last batch it saw, float32 [*, 1]."""

    log_ratio: torch.Tensor

    def _log_weight(self, tensordict: TensorDictBase, adv_shape: torch.Size) -> tuple[Any, ...]:
        result = super()._log_weight(tensordict, adv_shape=adv_shape)
        self.log_ratio = result[0].detach()
        return result

    def _get_entropy(self, dist: Distribution, adv_shape: torch.Size) -> TensorDictBase:
        return dist.entropy().unsqueeze(-1)


def torchrl_loss(
    actor_critic: ActorCritic, clip_epsilon: float, value_coeff: float, entropy_weights: dict[str, float]
) -> TorchRLLoss:
    """Return TorchRL's loss of `actor_critic`: the value head reads what the policy's one trunk pass left."""
    return TorchRLLoss(
        actor_critic.policy,
        actor_critic.value_head,
        clip_epsilon=clip_epsilon,
        entropy_coeff={head: entropy_weights.get(head, 1.0) for head in actor_critic.head_names},
        critic_coeff=value_coeff,
        loss_critic_type="l2",
        functional=False,
        log_explained_variance=False,
    )
