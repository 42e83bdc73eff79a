"""Equals `nn.GRU` cut at episode starts (tests/policies/memories/test_core.py), without padding rows that are cut.

One GRU layer over rows in which episodes begin anywhere; see `lstm_rows` for the why.

Source: Cho et al. (2014), in PyTorch's form: the reset gate scales the recurrent part of the candidate after its bias.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tamiyo_trl.policies.memories.lstm_rows import starts_of, swap


def gru_rows(x: Tensor, h: Tensor, cut: Tensor, weights: list[Tensor]) -> Tensor:
    """Return the outputs [L, B, H] of x [L, B, F].

    Step t starts from the stored state h[t] [L, B, H] where `cut` bool [L, B] is set or t is 0, else from the state
    step t - 1 left. `weights` are nn.GRU's: w_ih [3H, F], w_hh [3H, H], b_ih [3H], b_hh [3H].
    """
    outputs: Tensor = _GRURows.apply(x, h, starts_of(cut), *weights)
    return outputs


class _GRURows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h: Tensor,
        starts: list[Tensor | None],
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
    ) -> Tensor:
        L, B, F = x.shape
        H = w_hh.shape[1]
        x = x.reshape(L * B, F)
        gates = torch.addmm(b_ih, x, w_ih.t()).view(L, B, 3 * H)
        outputs: list[Tensor] = []
        recalled = x.new_empty(L, B, H)  # the recurrent part of the candidate, before the reset gate
        entered = [h[0]]
        for t in range(L):
            h_in = entered[t]
            recurrent = torch.addmm(b_hh, h_in, w_hh.t())
            gate = gates[t]
            gate[:, : 2 * H].add_(recurrent[:, : 2 * H]).sigmoid_()
            recalled[t] = recurrent[:, 2 * H :]
            r, z, n = gate.split(H, 1)
            n.addcmul_(r, recalled[t]).tanh_()
            outputs.append(torch.lerp(n, h_in, z))
            if t + 1 < L:
                entered.append(swap(starts[t + 1], h[t + 1], outputs[t]))
        ctx.save_for_backward(x, w_ih, w_hh, gates, recalled, *entered)
        ctx.starts = starts
        return torch.stack(outputs)

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, gates, recalled, *entered = ctx.saved_tensors
        L, B, H = d_out.shape
        h_in = torch.stack(entered)
        r, z, n = gates.split(H, 2)
        slope_n = (1 - z) * (1 - n**2)  # d output / d candidate, before squashing
        slope_z = (h_in - n) * z * (1 - z)
        slope_r = recalled * r * (1 - r)  # d candidate / d reset gate, before squashing
        d_gates = torch.empty_like(gates)  # towards the input
        d_recurrent = torch.empty_like(gates)  # towards the state: the candidate's part passes the reset gate
        d_h = torch.zeros_like(h_in) if ctx.needs_input_grad[1] else None
        back = torch.zeros_like(h_in[0])
        for t in range(L - 1, -1, -1):
            d_output = d_out[t] + back
            d_r, d_z, d_n = d_gates[t].split(H, 1)
            torch.mul(d_output, slope_n[t], out=d_n)
            torch.mul(d_output, slope_z[t], out=d_z)
            torch.mul(d_n, slope_r[t], out=d_r)
            d_recurrent[t, :, : 2 * H] = d_gates[t, :, : 2 * H]
            torch.mul(d_n, r[t], out=d_recurrent[t, :, 2 * H :])
            back = torch.addmm(d_output * z[t], d_recurrent[t], w_hh)
            rows = ctx.starts[t]
            if rows is not None:
                if d_h is not None:
                    d_h[t, rows] = back[rows]
                back.index_fill_(0, rows, 0.0)
        flat, flat_h = d_gates.view(L * B, 3 * H), d_recurrent.view(L * B, 3 * H)
        d_x = (flat @ w_ih).view(L, B, -1) if ctx.needs_input_grad[0] else None
        return d_x, d_h, None, flat.t() @ x, flat_h.t() @ h_in.reshape(L * B, H), flat.sum(0), flat_h.sum(0)
