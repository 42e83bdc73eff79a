"""The environment that a controller believes it is in, so that any policy with any memory can act for a Grower."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import InteractionType, TensorDictModuleBase, set_interaction_type
from torch import Tensor
from torchrl.data import Binary, Bounded, Composite
from torchrl.envs import Compose, EnvBase, InitTracker, TransformedEnv

from tamiyo_trl import keys
from tamiyo_trl.envs.growth import specs
from tamiyo_trl.envs.growth.observations import feature_bounds
from tamiyo_trl.grow.space import GrowthSpace
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.seeds.lifecycle import Op

Action = tuple[int, int, int]


class Seat(EnvBase):
    """One env whose next observation and mask are whatever `show` was last given; nothing is paid and nothing ends.

    Its specs are a GrowthEnv's of the same space: a controller can be built for it.
    """

    def __init__(self, space: GrowthSpace) -> None:
        super().__init__(batch_size=torch.Size([1]))
        low, high = feature_bounds(space.features, space.sites, space.blueprints)
        sizes = (len(Op), space.sites, len(space.blueprints))
        self.observation_spec = Composite(
            {
                keys.OBSERVATION: Bounded(low[None].clone(), high[None].clone(), dtype=torch.float32),
                keys.ACTION_MASK: Binary(n=sizes[-1], shape=(1, *sizes), dtype=torch.bool),
            },
            shape=(1,),
        )
        self.action_spec = specs.action_spec(1, space.sites, len(space.blueprints))
        self.reward_spec, self.done_spec = specs.reward_spec(1), specs.done_spec(1)
        self._shown = self.observation_spec.zero()

    def show(self, observation: Tensor, mask: Tensor) -> None:
        """Set what is seen next: observation [1, F], mask [1, ops, S, K]."""
        self._shown = TensorDict({keys.OBSERVATION: observation, keys.ACTION_MASK: mask}, batch_size=[1])

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: Any) -> TensorDictBase:
        return self._shown.clone().update(self.done_spec.zero())

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        return self._reset().update({keys.REWARD: torch.zeros(1, 1)})

    def _set_seed(self, seed: int | None) -> None:
        """Nothing is random here."""


class Player:
    """A policy in its seat: from observation and mask to an action, with whatever the policy remembers.

    Args:
        space: What the policy knows.
        policy: Reads observation and mask, writes an action.
        transforms: What the policy's memory needs of an environment.
        seed: Root of its samples: the n-th is a function of this and n alone.
    """

    def __init__(
        self, space: GrowthSpace, policy: TensorDictModuleBase, transforms: Compose | None = None, seed: int = 0
    ) -> None:
        self._seat, self._policy, self._seed = Seat(space), policy, seed
        self._env = TransformedEnv(self._seat, transforms if transforms is not None else Compose(InitTracker()))
        self._last: TensorDictBase | None = None

    def choose(self, observation: Tensor, mask: Tensor, step: int) -> tuple[Action, TensorDictBase]:
        """Return the action, and what `remember` takes once it was carried out."""
        self._seat.show(observation, mask)
        # A policy samples, as in training: its mode is another policy, one that may wait for ever.
        with torch.no_grad(), torch.random.fork_rng(devices=[]), set_interaction_type(InteractionType.RANDOM):
            torch.manual_seed(derive_seed(self._seed, "choice", step))
            shown = self._env.reset() if self._last is None else self._env.step_and_maybe_reset(self._last.clone())[1]
            shown = self._policy(shown)
        op, site, kind = shown[keys.ACTION][0].tolist()
        return (op, site, kind), shown

    def remember(self, shown: TensorDictBase) -> None:
        """Let the next choice follow this one."""
        self._last = shown

    def state_dict(self) -> dict[str, Any]:
        """Return the policy's memory as plain data."""
        last = None if self._last is None else self._last.clone().to_dict()
        return {"last": last, "policy": self._policy.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._last = None if state["last"] is None else TensorDict(state["last"], batch_size=[1])
        self._policy.load_state_dict(state["policy"])
