"""PrivilegedCritic: a value function that may know what the policy has to find out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.keys import PRIVILEGED
from tamiyo_trl.policies.initialisation import orthogonal
from tamiyo_trl.policies.memories.kinds import Memory, resolve
from tamiyo_trl.policies.trunks import CRITIC, Trunk, TrunkConfig, observing_trunk


@dataclass(frozen=True)
class PrivilegedCritic:
    """An asymmetric actor-critic: the value reads the policy's observation *and* entries the policy never sees.

    The critic is needed while learning alone, so it may know hidden facts of the environment: values, and with them
    advantages, are then free of the noise those facts make. Which `memory` is right depends on what the entries tell:

    - Observation and entries together are the whole state (nothing else decides what follows): the value of a *state*.
      A policy with a memory acts by its history, which such a critic does not see: its values are averages over the
      histories that lead to this state, biased for the policy gradient in general. "mlp" takes this bias for the least
      variance; the fuller the state, the less the history adds.
    - A recurrent memory gives the critic history *and* state, on which values are unbiased whatever the policy
      remembers and whatever the entries leave out.

    Attributes:
        keys: entries of the environment, float [E, P] each, that the critic reads beside the observation.
        hidden: widths of the critic's layers; the last is its memory's.
        memory: "mlp", "lstm", "gru" or an object of the `Memory` protocol that sees one observation at a time.

    Raises:
        ConfigError: no entry, no layer or one without units, or a memory that reads a window of observations.

    Source: Pinto et al. 2018, "Asymmetric actor critic for image-based robot learning" (state critic); Baisero and
    Amato 2022, "Unbiased asymmetric reinforcement learning under partial observability", theorems 4.2 and 4.3.
    """

    keys: tuple[str, ...] = (PRIVILEGED,)
    hidden: tuple[int, ...] = (128, 128)
    memory: str | Memory = "mlp"

    def __post_init__(self) -> None:
        if not self.keys or len(set(self.keys)) < len(self.keys):
            raise ConfigError(f"keys must name at least one entry and none twice: {self.keys}")
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"hidden must hold at least one width, each at least 1: {self.hidden}")
        if resolve(self.memory).window != 1:
            raise ConfigError(f"a critic's memory must read one observation at a time: {self.memory!r} reads a window")

    def build(self, plan: TrunkConfig) -> list[Trunk]:
        """Return the policy's trunk and the critic's, whose entries and states are named `critic_...`."""
        actor = observing_trunk(plan)
        encoder = PrivilegedEncoder(plan, self.hidden[:-1])
        core = resolve(self.memory).build(encoder.out_features, self.hidden[-1])
        return [actor, Trunk(encoder, [plan.observation_key, *plan.privileged], core, CRITIC)]


class PrivilegedEncoder(nn.Module):
    """Observation [*B, F] and further entries [*B, P], each normalised by its own statistics -> layers [*B, F'].

    Attributes:
        out_features: size F' of the output.
    """

    def __init__(self, plan: TrunkConfig, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.normalisers = nn.ModuleList([plan.normaliser, *plan.privileged.values()])
        sizes = (plan.features + sum(one.mean.numel() for one in plan.privileged.values()), *widths)
        self.out_features = sizes[-1]
        layers = [(orthogonal(nn.Linear(a, b)), nn.ReLU()) for a, b in zip(sizes, sizes[1:])]
        self.layers = nn.Sequential(*(part for layer in layers for part in layer))

    def forward(self, *entries: Tensor) -> Tensor:
        """Return the encoding of the observation and the further entries, these in the order of the critic's keys."""
        known = [normalise(entry) for normalise, entry in zip(self.normalisers, entries, strict=True)]
        encoded: Tensor = self.layers(torch.cat(known, -1))
        return encoded
