"""The policy as a collector runs it: one step straight through the networks, writing only what an update will read."""

from __future__ import annotations

from typing import NamedTuple

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import InteractionType, TensorDictModuleBase
from tensordict.nn.probabilistic import interaction_type
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.policies.networks import Networks
from tamiyo_trl.policies.trunks import Readable


class Choice(NamedTuple):
    """An action: its logits [*B, A], what was drawn int64 [*B, D], and the core [*B, H] that the value reads."""

    logits: Tensor
    drawn: Tensor
    core: Tensor


class CollectionPolicy(TensorDictModuleBase):
    """Writes action, log-probability, value and next states; the same numbers as one step of the full policy.

    It shares the networks of the full policy and skips its intermediate entries (encodings, cores, logits), which
    nobody reads. In a random interaction it samples; in any other (deterministic, mode, mean, median) it takes the most
    probable action, since choices have no mean.
    """

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = networks
        self.in_keys = list(networks.in_keys)
        self.out_keys = [keys.ACTION, keys.LOG_PROB, keys.STATE_VALUE, *(("next", key) for key in networks.state_keys)]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Take one step.

        Raises:
            IllegalActionError: a mask forbids everything; the message names the environment.
        """
        interface = self.networks.interface
        mask = None if interface.mask_key is None else tensordict.get(interface.mask_key)
        if mask is not None and not torch.compiler.is_compiling():  # what is exported holds no branches on data
            interface.check_playable(mask, ())
        written, choice = self.choose(tensordict)
        for key, value in (written | self.judge(choice, mask)).items():
            tensordict.set(key, value)
        return tensordict

    def choose(self, shown: Readable) -> tuple[dict[NestedKey, Tensor], Choice]:
        """Return what one step writes at once, action and next states, and what `judge` needs of it.

        `shown` is a tensordict or plain entries.
        """
        nets, written = self.networks, dict[NestedKey, Tensor]()
        cores: list[Tensor] = []
        for trunk in nets.trunks:
            core, following = trunk.memory.act(trunk.encode(shown), *trunk.memory.read(shown))
            cores.append(core)
            written.update(zip(trunk.memory.out_keys[1:], following))
        mask = None if nets.interface.mask_key is None else shown.get(nets.interface.mask_key)
        logits = nets.logits.module(cores[0])
        factors = nets.factors(logits, mask)
        greedy = interaction_type() not in (InteractionType.RANDOM, None)
        index = factors.mode() if greedy else factors.sample()
        written[keys.ACTION] = nets.interface.heads.encode(index)
        return written, Choice(logits, index, cores[-1])

    def judge(self, choice: Choice, mask: Tensor | None) -> dict[NestedKey, Tensor]:
        """Return log-probabilities and values of choices made under `mask`: of one step, or of many at once."""
        nets = self.networks
        log_prob = nets.factors(choice.logits, mask).log_prob(choice.drawn)
        return {keys.LOG_PROB: log_prob, keys.STATE_VALUE: nets.value.module(choice.core)}
