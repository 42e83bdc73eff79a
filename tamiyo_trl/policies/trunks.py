"""Trunks: from observation to core, shared by policy and value or one for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tensordict.nn import TensorDictModule
from tensordict.nn import TensorDictModuleBase
from torch import nn

from .. import keys
from .initialisation import orthogonal
from .memories import Memory, MemoryModule


@dataclass(frozen=True)
class Blueprint:
    """What a trunk is built from.

    Attributes:
        input_key: the observation it reads.
        features: size of that observation.
        normaliser: normalises the observation; shared by all trunks.
        memory: recipe of the memory.
        encoder_size: width of the encoder's one layer.
        hidden_size: width of the memory.
    """

    input_key: str
    features: int
    normaliser: nn.Module
    memory: Memory
    encoder_size: int
    hidden_size: int


@dataclass(frozen=True)
class Trunk:
    """Encoder and memory: normalised observation -> Linear -> ReLU -> memory -> `core_key`."""

    encoder: TensorDictModule
    memory: MemoryModule
    core_key: str

    @property
    def modules(self) -> tuple[TensorDictModuleBase, ...]:
        """The two modules in order."""
        return (self.encoder, self.memory)  # type: ignore[return-value]  # MemoryModule is the protocol of one


def build_trunk(plan: Blueprint, prefix: str = "") -> Trunk:
    """Return a new trunk whose entries (encoded, core, states) are named with `prefix`."""
    layer = orthogonal(nn.Sequential(nn.Linear(plan.features, plan.encoder_size), nn.ReLU()))
    encoder = TensorDictModule(
        nn.Sequential(plan.normaliser, *layer), in_keys=[plan.input_key], out_keys=[prefix + keys.ENCODED]
    )
    core_key = prefix + keys.CORE
    memory = plan.memory.build(plan.encoder_size, plan.hidden_size, prefix + keys.ENCODED, core_key, prefix)
    return Trunk(encoder, memory, core_key)


class Trunks(Protocol):
    """Which trunks a policy has."""

    def build(self, plan: Blueprint) -> tuple[Trunk, Trunk]:
        """Return the actor's and the critic's trunk; the same object twice where they share one."""


@dataclass(frozen=True)
class SharedTrunk:
    """Policy and value read one trunk: one pass serves both."""

    def build(self, plan: Blueprint) -> tuple[Trunk, Trunk]:
        """Return one trunk twice."""
        trunk = build_trunk(plan)
        return trunk, trunk


@dataclass(frozen=True)
class SeparateTrunks:
    """Policy and value have a trunk each; the critic's entries and states are prefixed `critic_`."""

    def build(self, plan: Blueprint) -> tuple[Trunk, Trunk]:
        """Return two trunks."""
        return build_trunk(plan), build_trunk(plan, "critic_")
