"""Equals `nn.LSTM` cut at episode starts (tests/policies/memories/test_core.py), without padding rows that are cut.

One LSTM layer over rows in which episodes begin anywhere, forward and backward in one pass over time.

Native kernels cannot restart a row in the middle, and cutting rows into padded pieces costs more the longer the rows
are. Here the carried state is swapped where an episode begins, and the gradient stops there. What is done step by step
works on a few tens of kilobytes at a time, in place, so that it stays in the processor's nearest cache.

Source: Hochreiter and Schmidhuber (1997); gates in PyTorch's order (input, forget, cell, output).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # grad * s * (1 - s) in one pass
_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # grad * (1 - y^2)


def lstm_rows(x: Tensor, h: Tensor, c: Tensor, cut: Tensor, weights: list[Tensor]) -> Tensor:
    """Return the outputs [L, B, H] of x [L, B, F].

    Step t starts from the stored states h[t], c[t] [L, B, H] where `cut` bool [L, B] is set or t is 0, else from the
    states step t - 1 left. `weights` are nn.LSTM's: w_ih [4H, F], w_hh [4H, H], b_ih [4H], b_hh [4H].
    """
    outputs: Tensor = _LSTMRows.apply(x, h, c, starts_of(cut), *weights)
    return outputs


def starts_of(cut: Tensor) -> list[Tensor | None]:
    """Return for every step the rows int64 [n] that start anew there, None where none does; at step 0 all do."""
    inner = cut[1:]
    counts = inner.sum(1).tolist()
    found = inner.nonzero()[:, 1].split(counts)
    everywhere = torch.arange(cut.shape[1], device=cut.device)
    return [everywhere, *(rows if count else None for rows, count in zip(found, counts))]


def swap(rows: Tensor | None, stored: Tensor, carried: Tensor) -> Tensor:
    """Return `carried` [B, H] with `rows` of it taken from `stored` instead."""
    return carried if rows is None else carried.index_copy(0, rows, stored.index_select(0, rows))


def cut_up(gates: Tensor) -> list[tuple[Tensor, ...]]:
    """Return the input, forget, cell and output gates of `gates` [L, B, 4H], views [B, H] of each step."""
    return [part.unbind(0) for part in gates.chunk(4, 2)]


def activate(gates: Tensor, cell: Tensor, minus_one: Tensor) -> None:
    """Squash `gates` [*, 4H] in place; `cell` is their part that takes the hyperbolic tangent."""
    cell.mul_(2.0)  # tanh(z) = 2 sigmoid(2 z) - 1, a third of the time of tanh itself
    gates.sigmoid_()
    torch.add(minus_one, cell, alpha=2.0, out=cell)


def gates_of(
    x: Tensor, entered_h: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Return gates [L, B, 4H], and cut up, for x [L*B, F] and the states [L, B, H] that entered each step."""
    gates = torch.addmm(bias, x, w_ih.t()).view(*entered_h.shape[:2], -1)
    gates += entered_h @ w_hh.t()
    activate(gates, gates.chunk(4, 2)[2], x.new_full((), -1.0))
    return gates, cut_up(gates)


class _LSTMRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        starts: list[Tensor | None],
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
    ) -> Tensor:
        L, B, F = x.shape
        H = w_hh.shape[1]
        x = x.reshape(L * B, F)
        bias = b_ih + b_hh
        gates = torch.addmm(bias, x, w_ih.t()).view(L, B, 4 * H)
        i, f, g, o = parts = cut_up(gates)
        outputs: list[Tensor] = []
        stored_h, stored_c, minus_one = h.unbind(0), c.unbind(0), x.new_full((), -1.0)
        entered_h, entered_c, squashed = [stored_h[0]], [stored_c[0]], []
        for t, gate in enumerate(gates.unbind(0)):
            activate(gate.addmm_(entered_h[t], w_hh.t()), g[t], minus_one)
            cell = torch.mul(f[t], entered_c[t]).addcmul_(i[t], g[t])
            bounded = torch.mul(cell, 2.0).sigmoid_()
            squashed.append(torch.add(minus_one, bounded, alpha=2.0, out=bounded))
            outputs.append(o[t] * bounded)
            if t + 1 < L:
                entered_h.append(swap(starts[t + 1], stored_h[t + 1], outputs[t]))
                entered_c.append(swap(starts[t + 1], stored_c[t + 1], cell))
        ctx.save_for_backward(x, w_ih, w_hh, bias, *entered_h, *entered_c, *squashed)
        ctx.starts, ctx.gates = starts, (gates, parts)
        return torch.stack(outputs)

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, bias, *steps = ctx.saved_tensors
        L, B, H = d_out.shape
        entered_h, entered_c, squashed = steps[:L], steps[L : 2 * L], steps[2 * L :]
        gates, (i, f, g, o) = ctx.gates or gates_of(x, torch.stack(entered_h), w_ih, w_hh, bias)
        ctx.gates = None  # used up: each gate's gradient takes the gate's own place, which is in the cache by then
        wants_state = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        d_h, d_c = (x.new_zeros(L, B, H), x.new_zeros(L, B, H)) if wants_state else (None, None)
        one, two, d_cell, back_c = (x.new_empty(B, H) for _ in range(4))
        back_c.zero_()
        back_h = torch.zeros_like(back_c)
        for t in range(L - 1, -1, -1):
            d_output = back_h.add_(d_out[t])
            torch.mul(d_output, squashed[t], out=one)
            _tanh_backward(torch.mul(d_output, o[t], out=two), squashed[t], grad_input=d_cell)
            d_cell.add_(back_c)
            torch.mul(d_cell, f[t], out=back_c)
            _sigmoid_backward(one, o[t], grad_input=o[t])
            torch.mul(d_cell, g[t], out=one)
            torch.mul(d_cell, i[t], out=two)
            _sigmoid_backward(one, i[t], grad_input=i[t])
            _tanh_backward(two, g[t], grad_input=g[t])
            _sigmoid_backward(torch.mul(d_cell, entered_c[t], out=one), f[t], grad_input=f[t])
            if t == 0 and not wants_state:
                break
            torch.mm(gates[t], w_hh, out=back_h)
            rows = ctx.starts[t]
            if rows is not None:
                if d_h is not None and d_c is not None:
                    d_h[t, rows], d_c[t, rows] = back_h[rows], back_c[rows]
                back_h.index_fill_(0, rows, 0.0)
                back_c.index_fill_(0, rows, 0.0)
        flat = gates.view(L * B, 4 * H)
        d_x = (flat @ w_ih).view(L, B, -1) if ctx.needs_input_grad[0] else None
        d_bias = flat.sum(0)
        return d_x, d_h, d_c, None, flat.t() @ x, flat.t() @ torch.cat(entered_h), d_bias, d_bias
