"""How a seed enters its host: who hears whom in the forward pass, and who learns from whom in the backward pass.

Incubating: out = h bit for bit; the seed learns from the host's loss as if its output had been used (straight-through); the host gets exactly its own
gradient. Otherwise: out = (1 - a) h + a s(h) with ordinary gradients. Activations hold n rows, [B, n*C, H, W] in channels_last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .rows import as_rows, take_rows


@dataclass(frozen=True)
class Members:
    """Which rows of an activation carry a seed of one bank, and how each is blended.

    Attributes:
        rows: int64 [m], rows of the activation that the seeds read.
        alpha: float [m], weight of the seed's output.
        incubating: bool [m].
        mixed: int64 [k], positions in `rows` of the seeds that are not incubating.
    """

    rows: Tensor
    alpha: Tensor
    incubating: Tensor
    mixed: Tensor

    @staticmethod
    def of(rows: Tensor, alpha: Tensor, incubating: Tensor) -> Members:
        """Return the members `rows` with their blend."""
        return Members(rows, alpha, incubating, (~incubating).nonzero().flatten())


class _Tap(torch.autograd.Function):
    """(h, taps) -> h and a copy of each bank's rows; a row's gradient returns unless its seed incubates."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, n: int, banks: list[Members]) -> tuple[Tensor, ...]:
        ctx.n, ctx.banks = n, banks
        return (h.view_as(h), *(take_rows(h, n, m.rows) for m in banks))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, *taken: Tensor | None) -> tuple[Tensor, None, None]:
        # `g` was allocated by _Graft.backward for this node alone, so it may be added to in place.
        rows = as_rows(g, ctx.n)
        for members, back in zip(ctx.banks, taken):
            if back is not None and len(members.mixed):
                back_rows = as_rows(back.contiguous(memory_format=torch.channels_last), len(members.rows))
                rows.index_add_(1, members.rows[members.mixed], back_rows.index_select(1, members.mixed))
        return g, None, None


class _Graft(torch.autograd.Function):
    """(h, seeds' outputs) -> the blended activation."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, n: int, banks: list[Members], *seeds: Tensor) -> Tensor:
        ctx.n, ctx.banks = n, banks
        out = h.clone(memory_format=torch.channels_last)
        rows = as_rows(out, n)
        for members, s in zip(banks, seeds):
            if len(members.mixed):
                s_rows = as_rows(s.contiguous(memory_format=torch.channels_last), len(members.rows))
                own, a = members.rows[members.mixed], members.alpha[members.mixed].view(-1, 1).to(h.dtype)
                mixed = torch.lerp(rows.index_select(1, own), s_rows.index_select(1, members.mixed).to(h.dtype), a)
                rows.index_copy_(1, own, mixed)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        g = g.contiguous(memory_format=torch.channels_last)
        g_host = g.clone(memory_format=torch.channels_last)
        rows, seeds = as_rows(g_host, ctx.n), []
        for members in ctx.banks:
            g_seed = take_rows(g, ctx.n, members.rows)
            if len(members.mixed):
                weight = torch.where(members.incubating, 1.0, members.alpha).view(1, -1, 1).to(g.dtype)
                as_rows(g_seed, len(members.rows)).mul_(weight)
                own, a = members.rows[members.mixed], members.alpha[members.mixed].view(-1, 1).to(g.dtype)
                rows.index_copy_(1, own, rows.index_select(1, own) * (1 - a))
            seeds.append(g_seed)
        return (g_host, None, None, *seeds)


def tap(h: Tensor, n: int, banks: list[Members]) -> tuple[Tensor, ...]:
    """Return h and, for each bank, a copy [B, m*C, H, W] of the rows its seeds read."""
    return _Tap.apply(h.contiguous(memory_format=torch.channels_last), n, banks)


def graft(h: Tensor, n: int, banks: list[Members], seeds: list[Tensor]) -> Tensor:
    """Return h with each bank's seed outputs [B, m*C, H, W] blended into its rows."""
    return _Graft.apply(h, n, banks, *seeds)
