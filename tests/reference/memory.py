"""Plain twins of the recurrent cores: one environment, one step, one layer at a time, gate by gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def lstm_step(x: Tensor, h: Tensor, c: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Next h and c [H] of one LSTM layer from x [F]."""
    w_ih, w_hh, b_ih, b_hh = weights
    i, f, g, o = (w_ih @ x + b_ih + w_hh @ h + b_hh).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(x: Tensor, h: Tensor, weights: list[Tensor]) -> Tensor:
    """Next h [H] of one GRU layer from x [F]."""
    w_ih, w_hh, b_ih, b_hh = weights
    r_x, z_x, n_x = (w_ih @ x + b_ih).chunk(3)
    r_h, z_h, n_h = (w_hh @ h + b_hh).chunk(3)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    n = torch.tanh(n_x + r * n_h)
    return (1 - z) * n + z * h


def run_rows(
    rnn: nn.LSTM | nn.GRU, x: Tensor, states: list[Tensor], is_init: Tensor, start: list[Tensor] | None = None
) -> Tensor:
    """Outputs [B, L, H] of rows x [B, L, F]; states [B, L, N, H] are read at a row's first step and wherever is_init.

    A stored state that is all zeros is replaced by `start` [N, H] per state.
    """
    rows = []
    for b in range(x.shape[0]):
        steps = []
        for t in range(x.shape[1]):
            if t == 0 or is_init[b, t]:
                carried = [state[b, t] for state in states]
                if start is not None and all((state == 0).all() for state in carried):
                    carried = list(start)
            y, carried = _all_layers(rnn, x[b, t], carried)
            steps.append(y)
        rows.append(torch.stack(steps))
    return torch.stack(rows)


def _all_layers(rnn: nn.LSTM | nn.GRU, y: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    following = []
    for layer in range(rnn.num_layers):
        if isinstance(rnn, nn.LSTM):
            new = lstm_step(y, states[0][layer], states[1][layer], rnn.all_weights[layer])
        else:
            new = (gru_step(y, states[0][layer], rnn.all_weights[layer]),)
        following.append(new)
        y = new[0]
    return y, [torch.stack(parts) for parts in zip(*following)]
