"""Trunks: from what is observed to core, one shared by policy and value or one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor, nn

from tamiyo_trl import keys
from tamiyo_trl.policies.initialisation import orthogonal
from tamiyo_trl.policies.memories.core import MemoryCore
from tamiyo_trl.policies.memories.kinds import Memory
from tamiyo_trl.policies.normaliser import Normaliser

CRITIC = "critic_"  # prefix of the entries and states of a critic that has a trunk of its own


class Readable(Protocol):
    """Entries by key: a tensordict or a dictionary."""

    def get(self, key: Any, default: Any = None, /) -> Any:
        """Return the entry under `key`."""


@dataclass(frozen=True)
class TrunkConfig:
    """What a trunk is built from.

    Attributes:
        observation_key: the entry the policy reads.
        features: size of that entry.
        normaliser: normalises it; all trunks share one.
        memory: recipe of the policy's memory.
        encoder_size: width of the encoder's one layer.
        hidden_size: width of the memory.
        privileged: normaliser of every entry that only the critic reads, by key.
    """

    observation_key: str
    features: int
    normaliser: Normaliser
    memory: Memory
    encoder_size: int
    hidden_size: int
    privileged: Mapping[str, Normaliser] = field(default_factory=dict)


class Trunk(nn.Module):
    """Entries -> encoder -> memory -> core; what it writes is named with `prefix`.

    Attributes:
        encoder: the entries side by side -> encoded.
        memory: encoded and states -> core and next states.
        core_key: where the core is written.
    """

    def __init__(self, net: nn.Module, in_keys: Sequence[str], core: MemoryCore, prefix: str = "") -> None:
        super().__init__()
        encoded, self.core_key = prefix + keys.ENCODED, prefix + keys.CORE
        self.encoder = TensorDictModule(net, in_keys=list(in_keys), out_keys=[encoded])
        self.memory = core.as_module(encoded, self.core_key, prefix)

    @property
    def modules_in_order(self) -> tuple[TensorDictModuleBase, TensorDictModuleBase]:
        """Encoder and memory."""
        return self.encoder, self.memory

    def encode(self, shown: Readable) -> Tensor:
        """Return the encoding [*B, F'] of the entries of one step, or of many at once."""
        encoded: Tensor = self.encoder.module(*[shown.get(key) for key in self.encoder.in_keys])
        return encoded

    def encode_time_first(self, slices: Readable) -> Tensor:
        """Return the encoding [S, L, F'] of slices [S, L], laid out time first in memory."""
        entries = [slices.get(key).transpose(0, 1) for key in self.encoder.in_keys]
        encoded: Tensor = self.encoder.module(*entries).transpose(0, 1)
        return encoded


def observing_trunk(plan: TrunkConfig, prefix: str = "") -> Trunk:
    """Return normalised observation -> Linear -> ReLU -> memory."""
    layer = orthogonal(nn.Linear(plan.features, plan.encoder_size))
    net = nn.Sequential(plan.normaliser, layer, nn.ReLU())
    return Trunk(net, [plan.observation_key], plan.memory.build(plan.encoder_size, plan.hidden_size), prefix)


class Critic(Protocol):
    """What the value function reads."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Entries of the environment that only the critic reads."""

    def build(self, plan: TrunkConfig) -> list[Trunk]:
        """Return the trunks, the actor's first and the critic's last."""


@dataclass(frozen=True)
class SharedTrunk:
    """Policy and value read one trunk: one pass serves both."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Nothing that the policy does not read."""
        return ()

    def build(self, plan: TrunkConfig) -> list[Trunk]:
        """Return one trunk."""
        return [observing_trunk(plan)]


@dataclass(frozen=True)
class SeparateTrunks:
    """Policy and value have a trunk each; the critic's entries and states are named `critic_...`."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Nothing that the policy does not read."""
        return ()

    def build(self, plan: TrunkConfig) -> list[Trunk]:
        """Return two trunks."""
        return [observing_trunk(plan), observing_trunk(plan, CRITIC)]
