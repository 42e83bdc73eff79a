"""Recurrent memories as TensorDict modules: one step at collection, whole rows (cut at episode starts) at the update.

The carried state lives in the tensordict: it enters under its plain key and leaves under ("next", key). Zeros mean
"start here": TorchRL's primer writes them when an episode begins, and a learned start replaces exactly them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn
from torchrl.data import Unbounded
from torchrl.envs import TensorDictPrimer, Transform
from torchrl.modules import recurrent_mode

from .. import keys
from .pieces import cut


class ZeroStart(nn.Module):
    """Episodes start from a state of zeros."""

    def forward(self, states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the states as they are: the zeros of an episode's start are already there."""
        return states


class LearnedStart(nn.Module):
    """Episodes start from a learned state [N, H] per state key."""

    def __init__(self, num_states: int, num_layers: int, hidden_size: int) -> None:
        super().__init__()
        self.values = nn.ParameterList([torch.zeros(num_layers, hidden_size) for _ in range(num_states)])

    def forward(self, states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the states [B, N, H] with the learned start added to those that are all zeros."""
        blank = torch.stack([(state == 0).flatten(1).all(-1) for state in states]).all(0)
        return [state + blank[:, None, None] * value for state, value in zip(states, self.values)]


class RecurrentMemory(TensorDictModuleBase):
    """An nn.LSTM or nn.GRU from `in_key` to `out_key` with its state in `state_keys`, [*B, N, H] each.

    Under `torchrl.modules.set_recurrent_mode(True)` the last batch axis is time: rows are cut where `is_init` is set
    and every piece starts from the state stored at its first step; next states are not written. Otherwise one step is
    taken and the next states are written.

    Args:
        rnn: batch_first nn.LSTM (two states) or nn.GRU (one).
        start: where episodes start, ZeroStart or LearnedStart.
        norm: applied to the output, nn.LayerNorm or nn.Identity.
    """

    def __init__(
        self,
        rnn: nn.LSTM | nn.GRU,
        start: nn.Module,
        norm: nn.Module,
        in_key: str,
        out_key: str,
        state_keys: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.rnn, self.start, self.norm = rnn, start, norm
        self.state_keys = state_keys
        self.out_features = rnn.hidden_size
        self.in_keys = [in_key, *state_keys, keys.IS_INIT]
        self.out_keys = [out_key, *(("next", key) for key in state_keys)]

    def transforms(self) -> list[Transform]:
        """Return fresh environment transforms this memory needs: the primer that carries its state."""
        spec = {key: Unbounded(shape=(self.rnn.num_layers, self.rnn.hidden_size)) for key in self.state_keys}
        return [TensorDictPrimer(spec, expand_specs=True)]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the memory's output, and its next states where one step is taken."""
        x, *states, is_init = (tensordict.get(key) for key in self.in_keys)
        batch = x.shape[:-1]
        if recurrent_mode():
            length = batch[-1] if batch else 1
            rows = [value.reshape(-1, length, *value.shape[len(batch) :]) for value in (x, *states)]
            y = self.run(rows[0], rows[1:], is_init.reshape(-1, length))
            return tensordict.set(self.out_keys[0], y.reshape(*batch, self.out_features))
        fresh = is_init.reshape(-1, 1, 1)
        states = [state.reshape(-1, *state.shape[-2:]).masked_fill(fresh, 0.0) for state in states]
        y, states = self.step(x.reshape(-1, x.shape[-1]), states)
        tensordict.set(self.out_keys[0], y.reshape(*batch, self.out_features))
        for key, state in zip(self.out_keys[1:], states):
            tensordict.set(key, state.reshape(*batch, *state.shape[1:]))
        return tensordict

    def step(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return output [B, H] and next states [B, N, H] of one step from x [B, F]."""
        y, states = self._call(x.unsqueeze(1), self.start(states))
        return self.norm(y.squeeze(1)), states

    def run(self, x: Tensor, states: Sequence[Tensor], is_init: Tensor) -> Tensor:
        """Return outputs [B, L, H] of rows x [B, L, F] with stored states [B, L, N, H], cut at is_init [B, L]."""
        pieces = cut(is_init)
        if pieces is None:
            y, _ = self._call(x, self.start([state[:, 0] for state in states]))
            return self.norm(y)
        firsts = [state.flatten(0, 1)[pieces.first] for state in states]
        y, _ = self._call(pieces.pad(x), self.start(firsts))
        return self.norm(pieces.join(y, len(x)))

    def _call(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        packed = [state.transpose(0, 1).contiguous() for state in states]
        if len(packed) == 1:
            y, last = self.rnn(x, packed[0])
            return y, [last.transpose(0, 1)]
        y, last = self.rnn(x, tuple(packed))
        return y, [state.transpose(0, 1) for state in last]
