"""Trunks: from observation to core, one shared by policy and value or one for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import nn

from tamiyo_trl import keys
from tamiyo_trl.policies.initialisation import orthogonal
from tamiyo_trl.policies.memories.kinds import Memory


@dataclass(frozen=True)
class TrunkConfig:
    """What a trunk is built from.

    Attributes:
        observation_key: the entry it reads.
        features: size of that entry.
        normaliser: normalises it; all trunks share one.
        memory: recipe of the memory.
        encoder_size: width of the encoder's one layer.
        hidden_size: width of the memory.
    """

    observation_key: str
    features: int
    normaliser: nn.Module
    memory: Memory
    encoder_size: int
    hidden_size: int


class Trunk(nn.Module):
    """Normalised observation -> Linear -> ReLU -> memory -> core; its entries are named with `prefix`.

    Attributes:
        encoder: observation -> encoded.
        memory: encoded and states -> core and next states.
        core_key: where the core is written.
    """

    def __init__(self, plan: TrunkConfig, prefix: str = "") -> None:
        super().__init__()
        encoded, self.core_key = prefix + keys.ENCODED, prefix + keys.CORE
        layer = orthogonal(nn.Linear(plan.features, plan.encoder_size))
        net = nn.Sequential(plan.normaliser, layer, nn.ReLU())
        self.encoder = TensorDictModule(net, in_keys=[plan.observation_key], out_keys=[encoded])
        core = plan.memory.build(plan.encoder_size, plan.hidden_size)
        self.memory = core.as_module(encoded, self.core_key, prefix)

    @property
    def modules_in_order(self) -> tuple[TensorDictModuleBase, TensorDictModuleBase]:
        """Encoder and memory."""
        return self.encoder, self.memory


class Trunks(Protocol):
    """Which trunks an actor-critic has."""

    def build(self, plan: TrunkConfig) -> list[Trunk]:
        """Return the trunks, the actor's first and the critic's last."""


@dataclass(frozen=True)
class SharedTrunk:
    """Policy and value read one trunk: one pass serves both."""

    def build(self, plan: TrunkConfig) -> list[Trunk]:
        """Return one trunk."""
        return [Trunk(plan)]


@dataclass(frozen=True)
class SeparateTrunks:
    """Policy and value have a trunk each; the critic's entries and states are named `critic_...`."""

    def build(self, plan: TrunkConfig) -> list[Trunk]:
        """Return two trunks."""
        return [Trunk(plan), Trunk(plan, "critic_")]
