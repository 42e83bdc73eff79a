"""How seeds enter their hosts: the blended output forward, and the gradient of host and seed backward.

Example: a bank of seeds on rows 2 and 5 of n = 8, 5 incubating: `rows` [2, 5], `active` [0], `active_rows` [2].

Incubating: out = h bit for bit; the seed learns from the host's loss as if its output had been used (straight-through);
the host gets exactly its own gradient. Otherwise: out = (1 - a) h + a s(h), and gradients follow it. Activations are
[n, B, H, W, C].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

EACH = (-1, 1, 1, 1, 1)  # a number for each row


@dataclass(frozen=True)
class Members:
    """Which rows of an activation carry the seeds of one bank, and how each is blended.

    Attributes:
        rows: int64 [m], the row each seed reads.
        active: int64 [k], positions in `rows` of the seeds that are not incubating.
        active_rows: int64 [k], their rows.
        alpha: float [k, 1, 1, 1, 1], their weights.
        grad_scale: float [m, 1, 1, 1, 1], weight of the host's gradient for each seed: alpha, or 1 incubating.
    """

    rows: Tensor
    active: Tensor
    active_rows: Tensor
    alpha: Tensor
    grad_scale: Tensor

    @staticmethod
    def of(rows: Tensor, alpha: Tensor, incubating: Tensor) -> Members:
        """Return the members `rows` [m] with each one's alpha and whether it incubates."""
        active = (~incubating).nonzero().flatten()
        grad_scale = torch.where(incubating, 1.0, alpha).to(alpha.dtype)
        return Members(rows, active, rows[active], alpha[active].view(EACH), grad_scale.view(EACH))

    @property
    def any_active(self) -> bool:
        """Whether the host hears any of these seeds."""
        return len(self.active) > 0

    def take(self, x: Tensor) -> Tensor:
        """Return a copy [m, B, H, W, C] of the members' rows of x [n, B, H, W, C]."""
        return x.index_select(0, self.rows)

    def only_active(self, x: Tensor) -> Tensor:
        """Return the heard seeds [k, B, H, W, C] of x [m, B, H, W, C]."""
        return x if len(self.active) == len(self.rows) else x.index_select(0, self.active)

    def put_active(self, x: Tensor, rows: Tensor) -> None:
        """Overwrite the heard seeds' rows of x [n, B, H, W, C] by `rows` [k, B, H, W, C]."""
        x.index_copy_(0, self.active_rows, rows)


def blend(h: Tensor, banks: Sequence[Members], taken: Sequence[Tensor], seeds: Sequence[Tensor]) -> Tensor:
    """Return h [n, B, H, W, C] with each bank's seed outputs blended into its rows; h itself if none is heard.

    taken, seeds: what each bank's seeds read and made of it, [m, B, H, W, C].
    """
    if not any(members.any_active for members in banks):
        return h
    out = h.clone()
    for members, own, s in zip(banks, taken, seeds):
        if members.any_active:
            members.put_active(
                out, torch.lerp(members.only_active(own), members.only_active(s), members.alpha.to(h.dtype))
            )
    return out


def unblend(g: Tensor, members: Members, through_seeds: Callable[[Tensor], Tensor]) -> None:
    """Turn the blended activation's gradient g [n, B, H, W, C], in place, into the host's own.

    through_seeds: runs the seeds backward, from their outputs' gradient to their inputs'. A host whose seed incubates
        keeps its gradient untouched.
    """
    taken = members.take(g)
    if not members.any_active:
        through_seeds(taken)
        return
    back = through_seeds(taken * members.grad_scale.to(g.dtype))
    own = members.only_active(taken) * (1 - members.alpha.to(g.dtype))
    members.put_active(g, own.add_(members.only_active(back)))
