"""TorchRL's clipped PPO loss, remembering the log-ratios that its averages hide."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from torch.distributions import Distribution
from torchrl.objectives import ClipPPOLoss


class RatioKeepingLoss(ClipPPOLoss):
    """ClipPPOLoss that keeps `log_ratio`, log(pi_new / pi_old) of the last batch it saw, float32 [*, 1].

    TorchRL reports only the largest and the mean ratio; the ratio check and an unbiased KL estimate need them all. The
    policy's distribution must tell its entropy head by head, as a TensorDict.
    """

    log_ratio: torch.Tensor

    def _log_weight(self, tensordict: TensorDictBase, adv_shape: torch.Size) -> tuple[Any, ...]:
        result = super()._log_weight(tensordict, adv_shape=adv_shape)
        self.log_ratio = result[0].detach()
        return result

    def _get_entropy(self, dist: Distribution, adv_shape: torch.Size) -> TensorDictBase:
        # TorchRL replaces an entropy that is not finite by a sampled one of another form; ours is exact, and NaN is
        # for the learner to find.
        return dist.entropy().unsqueeze(-1)


def kl_estimate(log_ratio: torch.Tensor) -> torch.Tensor:
    """Return the mean over steps of an estimate of KL(old || new) in nats that is never negative.

    Source: Schulman 2020, "Approximating KL divergence", estimator k3 = (r - 1) - log r.
    """
    return (torch.expm1(log_ratio) - log_ratio).mean()
