"""One GRU layer over rows in which episodes begin anywhere; see `lstm_rows` for the why.

Source: Cho et al. (2014), in PyTorch's form: the reset gate scales the recurrent part of the candidate after its bias.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .lstm_rows import _entering, _swap, _with_first


def gru_rows(x: Tensor, h: Tensor, cut: Tensor, weights: list[Tensor]) -> Tensor:
    """Return the outputs [L, B, H] of x [L, B, F].

    Step t starts from the stored state h[t] [L, B, H] where `cut` bool [L, B] is set or t is 0, else from the state
    step t - 1 left. `weights` are nn.GRU's: w_ih [3H, F], w_hh [3H, H], b_ih [3H], b_hh [3H].
    """
    return _GRURows.apply(x, h, _with_first(cut), *weights)


class _GRURows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, cut: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Tensor:
        L, B, F = x.shape
        H = w_hh.shape[1]
        x = x.reshape(L * B, F)
        gates = torch.addmm(b_ih, x, w_ih.t()).view(L, B, 3 * H)
        outputs = x.new_empty(L, B, H)
        recalled = x.new_empty(L, B, H)  # the recurrent part of the candidate, before the reset gate
        any_cut = cut.any(1).tolist()
        for t in range(L):
            h_in = h[t] if t == 0 else outputs[t - 1]
            if t > 0 and any_cut[t]:
                h_in = _swap(cut[t], h[t], h_in)
            recurrent = torch.addmm(b_hh, h_in, w_hh.t())
            gate = gates[t]
            gate[:, : 2 * H].add_(recurrent[:, : 2 * H]).sigmoid_()
            recalled[t] = recurrent[:, 2 * H :]
            r, z, n = gate.split(H, 1)
            n.addcmul_(r, recalled[t]).tanh_()
            torch.lerp(n, h_in, z, out=outputs[t])
        ctx.save_for_backward(x, h, cut, w_ih, w_hh, gates, outputs, recalled)
        ctx.any_cut = any_cut
        return outputs

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, h, cut, w_ih, w_hh, gates, outputs, recalled = ctx.saved_tensors
        L, B, H = outputs.shape
        h_in = _entering(cut, h, outputs)
        r, z, n = gates.split(H, 2)
        slope_n = (1 - z) * (1 - n**2)  # d output / d candidate, before squashing
        slope_z = (h_in - n) * z * (1 - z)
        slope_r = recalled * r * (1 - r)  # d candidate / d reset gate, before squashing
        d_gates = torch.empty_like(gates)  # towards the input
        d_recurrent = torch.empty_like(gates)  # towards the state: the candidate's part passes the reset gate
        d_h = torch.zeros_like(h_in) if ctx.needs_input_grad[1] else None
        back = torch.zeros_like(outputs[0])
        for t in range(L - 1, -1, -1):
            d_output = d_out[t] + back
            d_r, d_z, d_n = d_gates[t].split(H, 1)
            torch.mul(d_output, slope_n[t], out=d_n)
            torch.mul(d_output, slope_z[t], out=d_z)
            torch.mul(d_n, slope_r[t], out=d_r)
            d_recurrent[t, :, : 2 * H] = d_gates[t, :, : 2 * H]
            torch.mul(d_n, r[t], out=d_recurrent[t, :, 2 * H :])
            back = torch.addmm(d_output * z[t], d_recurrent[t], w_hh)
            if ctx.any_cut[t]:
                starts = cut[t].unsqueeze(1)
                if d_h is not None:
                    d_h[t] = back * starts
                back = back.masked_fill(starts, 0.0)
        flat, flat_h = d_gates.view(L * B, 3 * H), d_recurrent.view(L * B, 3 * H)
        d_x = (flat @ w_ih).view(L, B, -1) if ctx.needs_input_grad[0] else None
        return d_x, d_h, None, flat.t() @ x, flat_h.t() @ h_in.reshape(L * B, H), flat.sum(0), flat_h.sum(0)
