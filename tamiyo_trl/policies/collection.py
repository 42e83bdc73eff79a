"""The policy as a collector runs it: one step straight through the networks, writing only what an update will read."""

from __future__ import annotations

from tensordict import TensorDictBase
from tensordict.nn import InteractionType, TensorDictModuleBase
from tensordict.nn.probabilistic import interaction_type
from torch import Tensor

from .. import keys
from .networks import Networks


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
        nets, interface = self.networks, self.networks.interface
        observation = tensordict.get(nets.observation_key)
        cores: list[Tensor] = []
        for trunk in nets.trunks:
            core, following = trunk.memory.act(trunk.encoder.module(observation), *trunk.memory.read(tensordict))
            cores.append(core)
            for key, state in zip(trunk.memory.out_keys[1:], following):
                tensordict.set(key, state)
        mask = None if interface.mask_key is None else tensordict.get(interface.mask_key)
        logits = nets.logits.module(cores[0])
        heads = nets.heads(logits, mask)
        greedy = interaction_type() in (InteractionType.DETERMINISTIC, InteractionType.MODE)
        index = heads.factors.mode() if greedy else heads.factors.sample()
        tensordict.set(keys.ACTION, interface.heads.encode(index))
        tensordict.set(keys.LOG_PROB, heads.factors.log_prob(index))
        return tensordict.set(keys.STATE_VALUE, nets.value.module(cores[-1]))
