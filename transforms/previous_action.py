"""PreviousAction: lets a policy see what it just did and what it earned."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor
from torchrl.data import Categorical, Composite, MultiCategorical, MultiOneHot, OneHot, TensorSpec, Unbounded
from torchrl.envs import Transform


class PreviousAction(Transform):
    """Appends the previous action (one-hot, head by head) and the previous reward to a flat observation.

    Float [*, F] becomes [*, F + sum(nvec) + 1]; at the start of an episode the appended part is zero. Some memory tasks
    cannot be solved without it, because an action can be what must be remembered.

    Args:
        observation_key: the flat observation, extended in place.
        action_key: the action as the environment itself knows it.
        reward_key: the reward.

    Raises:
        ValueError: an observation that is not flat, or an action that is not discrete.
    """

    def __init__(
        self,
        observation_key: NestedKey = "observation",
        action_key: NestedKey = "action",
        reward_key: NestedKey = "reward",
    ) -> None:
        super().__init__(in_keys=[observation_key], out_keys=[observation_key])
        self.action_key, self.reward_key = action_key, reward_key

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        key = self.in_keys[0]
        observation = next_tensordict.get(key)
        action = _one_hot(tensordict.get(self.action_key), self._native_spec())
        reward = next_tensordict.get(self.reward_key).to(observation.dtype)
        parts = (observation, action.to(observation.dtype), reward.reshape(*observation.shape[:-1], 1))
        return next_tensordict.set(key, torch.cat(parts, -1))

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        # Rows that are not reset keep their observation: EnvBase.reset discards what is written for them.
        key = self.in_keys[0]
        observation = tensordict_reset.get(key)
        return tensordict_reset.set(key, torch.nn.functional.pad(observation, (0, self._extra())))

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Lengthen the observation."""
        key = self.in_keys[0]
        spec = observation_spec[key]
        if len(spec.shape) != observation_spec.ndim + 1 or not spec.dtype.is_floating_point:
            raise ValueError(f"{key!r} must be a flat float observation, got {spec.dtype} {tuple(spec.shape)}")
        shape = (*spec.shape[:-1], spec.shape[-1] + self._extra())
        observation_spec[key] = Unbounded(shape=shape, dtype=spec.dtype, device=spec.device)
        return observation_spec

    def _extra(self) -> int:
        return sum(_sizes(self._native_spec())) + 1

    def _native_spec(self) -> TensorSpec:
        """Return the action spec under all transforms: what `_step` meets after their inverses ran."""
        return self.container.base_env.full_action_spec[self.action_key]


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    """Return the number of values of each head."""
    if isinstance(spec, MultiCategorical):
        return tuple(spec.nvec.reshape(-1, spec.nvec.shape[-1])[0].tolist())
    if isinstance(spec, MultiOneHot):
        return tuple(int(box.n) for box in spec.space.boxes)
    if isinstance(spec, (OneHot, Categorical)):
        return (int(spec.space.n),)
    raise ValueError(f"PreviousAction needs a discrete action, got {type(spec).__name__}")


def _one_hot(action: Tensor, spec: TensorSpec) -> Tensor:
    """Return an action as one-hot vectors side by side, [*, sum(nvec)]."""
    if isinstance(spec, (OneHot, MultiOneHot)):
        return action
    sizes = _sizes(spec)
    index = action if isinstance(spec, MultiCategorical) else action.reshape(*spec.shape, 1)
    return torch.cat([torch.nn.functional.one_hot(index[..., i], n) for i, n in enumerate(sizes)], -1)
