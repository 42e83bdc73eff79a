"""The recurrent actor-critic by hand: the LSTM's equations, one environment and one step at a time.

It reads the weights of a `make_actor_critic(memory="lstm")` policy with one layer and a shared trunk, and nothing else
of the library's: no TensorDict module runs here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.policies import ActorCritic

Layers = list[tuple[Tensor, Tensor]]


@dataclass
class SlowPolicy:
    """Observation and state in; logits, value and next state out."""

    actor_critic: ActorCritic

    def step(self, observation: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits [A], value [], h [H] and c [H] of one step from observation [F], h [H] and c [H]."""
        encoder, rnn, value, logits = _groups(self.actor_critic)
        norm = self.actor_critic.normaliser
        x = (
            ((observation - norm.mean) * (norm.var + norm.epsilon) ** -0.5).clamp(-10, 10)
            if norm.count > 0
            else (observation.clamp(-10, 10))
        )
        x = torch.relu(encoder["weight"] @ x + encoder["bias"])
        gates = rnn["weight_ih"] @ x + rnn["bias_ih"] + rnn["weight_hh"] @ h + rnn["bias_hh"]
        i, f, g, o = gates.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return _mlp(logits, h), _mlp(value, h).squeeze(-1), h, c


def _mlp(layers: Layers, x: Tensor) -> Tensor:
    (w1, b1), (w2, b2) = layers
    return w2 @ torch.relu(w1 @ x + b1) + b2


def _groups(actor_critic: ActorCritic) -> tuple[dict[str, Tensor], dict[str, Tensor], Layers, Layers]:
    """Return the weights of encoder, LSTM, value head and action head."""
    modules = {key: module for module in actor_critic.policy.module[:-1] for key in module.out_keys}
    encoder = dict(zip(("weight", "bias"), modules[keys.ENCODED].parameters()))
    rnn = {name.split(".")[-1].removesuffix("_l0"): w for name, w in modules[keys.CORE].named_parameters()}
    assert sorted(rnn) == ["bias_hh", "bias_ih", "weight_hh", "weight_ih"]
    heads = []
    for key in (keys.STATE_VALUE, keys.LOGITS):
        w1, b1, w2, b2 = modules[key].parameters()
        heads.append([(w1, b1), (w2, b2)])
    return encoder, rnn, *heads
