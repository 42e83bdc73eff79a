"""The policy as a collector runs it: one step straight through the networks, writing only what an update will read."""

from __future__ import annotations

from typing import Any, Protocol

from tensordict import NestedKey, TensorDictBase
from tensordict.nn import InteractionType, TensorDictModuleBase
from tensordict.nn.probabilistic import interaction_type
from torch import Tensor

from .. import keys
from .networks import Networks


class Readable(Protocol):
    """Entries by key: a tensordict or a dictionary."""

    def get(self, key: Any, default: Any = None, /) -> Any:
        """Return the entry under `key`."""


class CollectionPolicy(TensorDictModuleBase):
    """Writes action, log-probability, value and next states; the same numbers as one step of the full policy.

    It shares the networks of the full policy and skips its intermediate entries (encodings, cores, logits), which
    nobody reads. In a deterministic interaction (mode or deterministic) it takes the most probable action, else it
    samples.
    """

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = networks
        self.in_keys = list(networks.in_keys)
        self.out_keys = [keys.ACTION, keys.LOG_PROB, keys.STATE_VALUE, *(("next", key) for key in networks.state_keys)]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Take one step."""
        for key, value in self.decide(tensordict).items():
            tensordict.set(key, value)
        return tensordict

    def decide(self, shown: Readable) -> dict[NestedKey, Tensor]:
        """Return what one step writes, from a tensordict or from plain entries."""
        nets, written = self.networks, dict[NestedKey, Tensor]()
        observation = shown.get(nets.observation_key)
        cores: list[Tensor] = []
        for trunk in nets.trunks:
            core, following = trunk.memory.act(trunk.encoder.module(observation), *trunk.memory.read(shown))
            cores.append(core)
            written.update(zip(trunk.memory.out_keys[1:], following))
        mask = None if nets.interface.mask_key is None else shown.get(nets.interface.mask_key)
        factors = nets.factors(nets.logits.module(cores[0]), mask)
        greedy = interaction_type() in (InteractionType.DETERMINISTIC, InteractionType.MODE)
        index = factors.mode() if greedy else factors.sample()
        written[keys.ACTION] = nets.interface.heads.encode(index)
        written[keys.LOG_PROB] = factors.log_prob(index)
        written[keys.STATE_VALUE] = nets.value.module(cores[-1])
        return written
