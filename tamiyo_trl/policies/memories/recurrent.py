"""LSTM and GRU cores: native kernels where rows are whole, a pass that can restart where episodes begin inside.

On tensordicts they are TorchRL's LSTMModule and GRUModule: same keys, primers and recurrent mode, the same numbers
(tested), and the passes over time replaced by ours, which TorchRL's cutting and padding of rows is slower than.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchrl.envs import Transform
from torchrl.modules import GRUModule, LSTMModule

from tamiyo_trl import keys
from tamiyo_trl.policies.memories.core import MemoryCore, MemoryModule
from tamiyo_trl.policies.memories.gru_rows import gru_rows
from tamiyo_trl.policies.memories.lstm_rows import lstm_rows


class ZeroStart(nn.Module):
    """Episodes start from a state of zeros."""

    def forward(self, states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the states as they are: the zeros of an episode's start are already there."""
        return states


class LearnedStart(nn.Module):
    """Episodes start from a learned state [N, H] per state, which replaces the primer's zeros wherever they stand."""

    def __init__(self, num_states: int, num_layers: int, hidden_size: int) -> None:
        super().__init__()
        self.values = nn.ParameterList([torch.zeros(num_layers, hidden_size) for _ in range(num_states)])

    def forward(self, states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the states [..., N, H] with the learned start in place of those that are all zeros."""
        blank = torch.stack([(state == 0).flatten(-2).all(-1) for state in states]).all(0)
        return [state + blank[..., None, None] * value for state, value in zip(states, self.values)]


class RecurrentCore(MemoryCore):
    """What LSTM and GRU share: start, layers, output norm.

    Args:
        rnn: batch_first nn.LSTM or nn.GRU; it owns the weights.
        start: ZeroStart or LearnedStart.
        norm: applied to the output; nn.LayerNorm or nn.Identity.
        names: names of the states, each [N, H].
    """

    def __init__(self, rnn: nn.LSTM | nn.GRU, start: nn.Module, norm: nn.Module, names: tuple[str, ...]) -> None:
        shape = (rnn.num_layers, rnn.hidden_size)
        super().__init__(rnn.hidden_size, dict.fromkeys(names, shape))
        self.rnn, self.start, self.norm = rnn, start, norm

    def step(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """Return output [B, H] and next states [B, N, H]."""
        following = []
        by_layer = [state.unbind(1) for state in self.start(states)]
        for layer, entering in enumerate(zip(*by_layer)):
            new = self._cell(x, list(entering), self._weights(layer))
            following.append(new)
            x = new[0]
        if len(following) == 1:
            return self.norm(x), [state.unsqueeze(1) for state in following[0]]
        return self.norm(x), [torch.stack(parts, 1) for parts in zip(*following)]

    def run(self, x: Tensor, states: Sequence[Tensor], is_init: Tensor) -> Tensor:
        """Return outputs [B, L, H]; see `MemoryCore.run`."""
        if not is_init[:, 1:].any():
            firsts = self.start([state[:, 0] for state in states])
            return self.norm(self._whole(x, [first.transpose(0, 1).contiguous() for first in firsts]))
        states = self.start(states)
        x, cut = x.transpose(0, 1), is_init.t()
        for layer in range(self.rnn.num_layers):
            x = self._rows(x, [state[:, :, layer].transpose(0, 1) for state in states], cut, self._weights(layer))
        return self.norm(x.transpose(0, 1))

    def _weights(self, layer: int) -> list[Tensor]:
        return list(self.rnn.all_weights[layer])  # not its flat list, which a swap of parameters leaves behind

    def _cell(self, x: Tensor, states: list[Tensor], weights: list[Tensor]) -> Sequence[Tensor]:
        """Return the next states [B, H] of one layer, the output first."""
        raise NotImplementedError

    def _whole(self, x: Tensor, states: list[Tensor]) -> Tensor:
        """Return the outputs of rows without inner starts by the native kernel."""
        raise NotImplementedError

    def _rows(self, x: Tensor, states: list[Tensor], cut: Tensor, weights: list[Tensor]) -> Tensor:
        """Return one layer's outputs [L, B, H] of rows with inner starts."""
        raise NotImplementedError


class LSTMCore(RecurrentCore):
    """A long short-term memory; states h and c."""

    def __init__(self, rnn: nn.LSTM, start: nn.Module, norm: nn.Module) -> None:
        super().__init__(rnn, start, norm, (keys.HIDDEN_H, keys.HIDDEN_C))

    def as_module(self, in_key: str, out_key: str, prefix: str = "") -> LSTMMemory:
        """Return the core as TorchRL's LSTMModule."""
        return LSTMMemory(self, in_key, out_key, prefix)

    def _cell(self, x: Tensor, states: list[Tensor], weights: list[Tensor]) -> Sequence[Tensor]:
        return torch.lstm_cell(x, states, *weights)

    def _whole(self, x: Tensor, states: list[Tensor]) -> Tensor:
        return self.rnn(x, tuple(states))[0]

    def _rows(self, x: Tensor, states: list[Tensor], cut: Tensor, weights: list[Tensor]) -> Tensor:
        return lstm_rows(x, states[0], states[1], cut, weights)


class GRUCore(RecurrentCore):
    """A gated recurrent unit; one state."""

    def __init__(self, rnn: nn.GRU, start: nn.Module, norm: nn.Module) -> None:
        super().__init__(rnn, start, norm, (keys.HIDDEN,))

    def as_module(self, in_key: str, out_key: str, prefix: str = "") -> GRUMemory:
        """Return the core as TorchRL's GRUModule."""
        return GRUMemory(self, in_key, out_key, prefix)

    def _cell(self, x: Tensor, states: list[Tensor], weights: list[Tensor]) -> Sequence[Tensor]:
        return (torch.gru_cell(x, states[0], *weights),)

    def _whole(self, x: Tensor, states: list[Tensor]) -> Tensor:
        return self.rnn(x, states[0])[0]

    def _rows(self, x: Tensor, states: list[Tensor], cut: Tensor, weights: list[Tensor]) -> Tensor:
        return gru_rows(x, states[0], cut, weights)


class LSTMMemory(MemoryModule, LSTMModule):
    """TorchRL's LSTMModule around an LSTMCore."""

    core: LSTMCore

    def __init__(self, core: LSTMCore, in_key: str, out_key: str, prefix: str = "") -> None:
        states = [prefix + name for name in core.state_shapes]
        LSTMModule.__init__(
            self, lstm=core.rnn, in_keys=[in_key, *states], out_keys=[out_key, *(("next", key) for key in states)]
        )
        del self._modules["lstm"]  # the core owns the weights; `lstm` shows them
        self._declare(core, in_key, out_key, prefix)

    @property
    def lstm(self) -> nn.Module:
        """The weights."""
        return self.core.rnn

    def transforms(self) -> list[Transform]:
        """Return TorchRL's primer."""
        return [self.make_tensordict_primer()]


class GRUMemory(MemoryModule, GRUModule):
    """TorchRL's GRUModule around a GRUCore."""

    core: GRUCore

    def __init__(self, core: GRUCore, in_key: str, out_key: str, prefix: str = "") -> None:
        states = [prefix + name for name in core.state_shapes]
        GRUModule.__init__(
            self, gru=core.rnn, in_keys=[in_key, *states], out_keys=[out_key, *(("next", key) for key in states)]
        )
        del self._modules["gru"]  # the core owns the weights; `gru` shows them
        self._declare(core, in_key, out_key, prefix)

    @property
    def gru(self) -> nn.Module:
        """The weights."""
        return self.core.rnn

    def transforms(self) -> list[Transform]:
        """Return TorchRL's primer."""
        return [self.make_tensordict_primer()]
