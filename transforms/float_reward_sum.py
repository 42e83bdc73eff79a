"""FloatRewardSum: the return so far, in a type that can hold it."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torchrl.data import Composite, Unbounded
from torchrl.envs import RewardSum


class FloatRewardSum(RewardSum):
    """TorchRL's RewardSum, added up in float32 where rewards come in a smaller type, an integer or a boolean.

    RewardSum adds in the reward's own type: seven rewards of 100 make 188 in uint8, -68 in int8, and 1 in bool.

    Args: see RewardSum.
    """

    def _generate_episode_reward_spec(self) -> Composite:
        specs = super()._generate_episode_reward_spec()
        for key, spec in list(specs.items(True, True)):
            specs[key] = Unbounded(shape=spec.shape, dtype=_wide(spec.dtype), device=spec.device)
        return specs

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        reset = super()._reset(tensordict, tensordict_reset)
        for key in self.out_keys:
            total = reset.get(key)
            reset.set(key, total.to(_wide(total.dtype)))
        return reset


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
