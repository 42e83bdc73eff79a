"""What a trained memory is worth: its state is reset once, reset again and again, or exchanged for another host's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import Compose

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.transforms import HiddenStateReset


class StateSwap(TensorDictModuleBase):
    """A policy whose hosts exchange their hidden states at one step of the episode: each takes over its neighbour's.

    Args:
        policy: The policy.
        state_keys: Its recurrent entries.
        at: Steps since the episode's start at which states change places.
    """

    def __init__(self, policy: TensorDictModuleBase, state_keys: Sequence[str], at: int) -> None:
        super().__init__()
        if at < 1 or not state_keys:
            raise ConfigError(f"a swap needs a step of at least 1 and a memory: got step {at} of {list(state_keys)}")
        self.policy, self.at, self._state_keys = policy, at, tuple(state_keys)
        self.in_keys, self.out_keys = policy.in_keys, policy.out_keys
        self._step = torch.zeros(0, dtype=torch.long)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Let the policy act on the states as they are after the exchange, if one is due."""
        begins = tensordict[keys.IS_INIT].flatten()
        if len(self._step) != len(begins):
            self._step = torch.zeros(len(begins), dtype=torch.long)
        self._step = torch.where(begins, 0, self._step + 1)
        due = (self._step == self.at).nonzero().flatten()
        for key in self._state_keys:
            state = tensordict[key].clone()
            state[due] = state[due.roll(1)]
            tensordict[key] = state
        return self.policy(tensordict)


@dataclass(frozen=True)
class Intervention:
    """What is done to the hidden state during an evaluation: exactly one of the three.

    Attributes:
        reset_at: Step at which it is reset, once.
        reset_every: Steps between resets.
        swap_at: Step at which hosts exchange their states.
    """

    reset_at: int = 0
    reset_every: int = 0
    swap_at: int = 0

    def __post_init__(self) -> None:
        if sum(value > 0 for value in (self.reset_at, self.reset_every, self.swap_at)) != 1:
            raise ConfigError(f"an intervention is one reset, a period or one swap; got {self}")

    @property
    def name(self) -> str:
        """What tables call it."""
        if self.reset_at:
            return f"reset at {self.reset_at}"
        return f"reset every {self.reset_every}" if self.reset_every else f"swapped at {self.swap_at}"

    def transforms(self, actor_critic: ActorCritic) -> Compose:
        """Return the policy's transforms, with the resets behind them."""
        own = actor_critic.transforms()
        if self.reset_at:
            own.append(HiddenStateReset(at=(self.reset_at,)))
        elif self.reset_every:
            own.append(HiddenStateReset(every=self.reset_every))
        return own

    def policy(self, actor_critic: ActorCritic) -> TensorDictModuleBase:
        """Return the policy, exchanging states if that is the intervention."""
        if self.swap_at:
            return StateSwap(actor_critic.policy, actor_critic.state_keys, self.swap_at)
        return actor_critic.policy


def interventions(
    reset_at: Sequence[int], reset_every: Sequence[int], swap_at: Sequence[int]
) -> tuple[Intervention, ...]:
    """Return one intervention for each given step or period."""
    return (
        *(Intervention(reset_at=step) for step in reset_at),
        *(Intervention(reset_every=period) for period in reset_every),
        *(Intervention(swap_at=step) for step in swap_at),
    )
