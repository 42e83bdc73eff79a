"""One LSTM layer over rows in which episodes begin anywhere, forward and backward in one pass over time.

Native kernels cannot restart a row in the middle, and cutting rows into padded pieces costs more the longer the rows
are. Here the carried state is swapped where an episode begins, and the gradient stops there.

Source: Hochreiter and Schmidhuber (1997); gates in PyTorch's order (input, forget, cell, output).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def lstm_rows(x: Tensor, h: Tensor, c: Tensor, cut: Tensor, weights: list[Tensor]) -> Tensor:
    """Return the outputs [L, B, H] of x [L, B, F].

    Step t starts from the stored states h[t], c[t] [L, B, H] where `cut` bool [L, B] is set or t is 0, else from the
    states step t - 1 left. `weights` are nn.LSTM's: w_ih [4H, F], w_hh [4H, H], b_ih [4H], b_hh [4H].
    """
    return _LSTMRows.apply(x, h, c, _with_first(cut), *weights)


def _with_first(cut: Tensor) -> Tensor:
    cut = cut.clone()
    cut[0] = True
    return cut


class _LSTMRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor, cut: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Tensor:
        L, B, F = x.shape
        H = w_hh.shape[1]
        x = x.reshape(L * B, F)
        gates = torch.addmm(b_ih + b_hh, x, w_ih.t()).view(L, B, 4 * H)
        outputs, cells = x.new_empty(L, B, H), x.new_empty(L, B, H)
        squashed = x.new_empty(L, B, H)  # tanh of the cells
        any_cut = cut.any(1).tolist()
        for t in range(L):
            h_in, c_in = (h[t], c[t]) if t == 0 else (outputs[t - 1], cells[t - 1])
            if t > 0 and any_cut[t]:
                h_in, c_in = _swap(cut[t], h[t], h_in), _swap(cut[t], c[t], c_in)
            gate = gates[t].addmm_(h_in, w_hh.t())
            gate[:, : 2 * H].sigmoid_()
            gate[:, 2 * H : 3 * H].tanh_()
            gate[:, 3 * H :].sigmoid_()
            i, f, g, o = gate.split(H, 1)
            torch.addcmul(f * c_in, i, g, out=cells[t])
            torch.tanh(cells[t], out=squashed[t])
            torch.mul(o, squashed[t], out=outputs[t])
        ctx.save_for_backward(x, h, c, cut, w_ih, w_hh, gates, outputs, cells, squashed)
        ctx.any_cut = any_cut
        return outputs

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, h, c, cut, w_ih, w_hh, gates, outputs, cells, squashed = ctx.saved_tensors
        L, B, H = outputs.shape
        h_in, c_in = _entering(cut, h, outputs), _entering(cut, c, cells)
        i, f, g, o = gates.split(H, 2)
        by_cell = o * (1 - squashed**2)  # d output / d cell
        by_gate = (g * i * (1 - i), c_in * f * (1 - f), i * (1 - g**2))  # d cell / d gate, before squashing
        slope = torch.stack(by_gate, 2)
        slope_o = squashed * o * (1 - o)
        d_gates = torch.empty_like(gates)
        wants_state = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        d_h, d_c = (torch.zeros_like(h_in), torch.zeros_like(c_in)) if wants_state else (None, None)
        back_h = back_c = torch.zeros_like(outputs[0])
        for t in range(L - 1, -1, -1):
            d_output = d_out[t] + back_h
            d_cell = torch.addcmul(back_c, d_output, by_cell[t])
            d_gate = d_gates[t]
            torch.mul(slope[t], d_cell.unsqueeze(1), out=d_gate[:, : 3 * H].view(B, 3, H))
            torch.mul(d_output, slope_o[t], out=d_gate[:, 3 * H :])
            back_h, back_c = d_gate @ w_hh, d_cell * f[t]
            if ctx.any_cut[t]:
                starts = cut[t].unsqueeze(1)
                if d_h is not None and d_c is not None:
                    d_h[t], d_c[t] = back_h * starts, back_c * starts
                back_h, back_c = back_h.masked_fill(starts, 0.0), back_c.masked_fill(starts, 0.0)
        flat = d_gates.view(L * B, 4 * H)
        d_x = (flat @ w_ih).view(L, B, -1) if ctx.needs_input_grad[0] else None
        d_bias = flat.sum(0)
        return d_x, d_h, d_c, None, flat.t() @ x, flat.t() @ h_in.reshape(L * B, H), d_bias, d_bias


def _swap(starts: Tensor, stored: Tensor, carried: Tensor) -> Tensor:
    return torch.where(starts.unsqueeze(1), stored, carried)


def _entering(cut: Tensor, stored: Tensor, left: Tensor) -> Tensor:
    """Return the state [L, B, H] that entered each step: the stored one at starts, else what the step before left."""
    carried = torch.cat([stored[:1], left[:-1]])
    return torch.where(cut.unsqueeze(-1), stored, carried)
