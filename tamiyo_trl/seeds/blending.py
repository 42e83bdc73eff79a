"""How a seed enters its host: who hears whom in the forward pass, and who learns from whom in the backward pass.

Incubating: out = h bit for bit; the seed learns from the host's loss as if its output had been used (straight-through);
the host gets exactly its own gradient. Otherwise: out = (1 - a) h + a s(h), and gradients follow it. Activations hold n
rows, [B, n*C, H, W] in channels_last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .rows import as_rows, take_rows


@dataclass(frozen=True)
class Members:
    """Which rows of an activation carry the seeds of one bank, and how each is blended.

    Attributes:
        rows: int64 [m], the row each seed reads.
        heard: int64 [k], positions in `rows` of the seeds that are not incubating.
        targets: int64 [k], their rows.
        alpha: float [k, 1], their weights.
        pull: float [m, 1], what of the host's gradient each seed learns from: alpha, or 1 in the incubator.
    """

    rows: Tensor
    heard: Tensor
    targets: Tensor
    alpha: Tensor
    pull: Tensor

    @staticmethod
    def of(rows: Tensor, alpha: Tensor, incubating: Tensor) -> Members:
        """Return the members `rows` [m] with each one's alpha and whether it incubates."""
        heard = (~incubating).nonzero().flatten()
        pull = torch.where(incubating, 1.0, alpha).to(alpha.dtype)
        return Members(rows, heard, rows[heard], alpha[heard].unsqueeze(1), pull.unsqueeze(1))

    @property
    def any_heard(self) -> bool:
        """Whether the host hears any of these seeds."""
        return len(self.heard) > 0

    def take(self, x: Tensor, n: int) -> Tensor:
        """Return a copy [B, m*C, H, W] of the members' rows of x [B, n*C, H, W]."""
        return take_rows(x, n, self.rows)

    def only_heard(self, x: Tensor) -> Tensor:
        """Return the heard seeds [B*H*W, k, C] of x [B, m*C, H, W]."""
        rows = as_rows(x, len(self.rows))
        return rows if len(self.heard) == len(self.rows) else rows.index_select(1, self.heard)

    def put_heard(self, x: Tensor, n: int, rows: Tensor) -> None:
        """Overwrite the heard seeds' rows of x [B, n*C, H, W] by `rows` [B*H*W, k, C]."""
        as_rows(x, n).index_copy_(1, self.targets, rows)


def blend(h: Tensor, n: int, banks: Sequence[Members], taken: Sequence[Tensor], seeds: Sequence[Tensor]) -> Tensor:
    """Return h [B, n*C, H, W] with each bank's seed outputs blended into its rows; h itself if none is heard.

    taken, seeds: what each bank's seeds read and made of it, [B, m*C, H, W].
    """
    if not any(members.any_heard for members in banks):
        return h
    out = h.clone(memory_format=torch.channels_last)
    for members, own, s in zip(banks, taken, seeds):
        if members.any_heard:
            mixed = torch.lerp(members.only_heard(own), members.only_heard(s), members.alpha.to(h.dtype))
            members.put_heard(out, n, mixed)
    return out


def unblend(g: Tensor, n: int, members: Members, through_seeds: Callable[[Tensor], Tensor]) -> None:
    """Turn the blended activation's gradient g [B, n*C, H, W], in place, into the host's own.

    through_seeds: runs the seeds backward, from their outputs' gradient to their inputs'. A host whose seed incubates
        keeps its gradient untouched.
    """
    taken = members.take(g, n)
    if not members.any_heard:
        through_seeds(taken)
        return
    batch, _, height, width = g.shape
    pulled = as_rows(taken, len(members.rows)) * members.pull.to(g.dtype)
    back = through_seeds(pulled.view(batch, height, width, -1).permute(0, 3, 1, 2))
    own = members.only_heard(taken) * (1 - members.alpha.to(g.dtype))
    members.put_heard(g, n, own.add_(members.only_heard(back)))
