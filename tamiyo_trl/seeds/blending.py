"""How a seed enters its host: who hears whom in the forward pass, and who learns from whom in the backward pass.

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
        heard: int64 [k], positions in `rows` of the seeds that are not incubating.
        targets: int64 [k], their rows.
        alpha: float [k, 1, 1, 1, 1], their weights.
        pull: float [m, 1, 1, 1, 1], what of the host's gradient each seed learns from: alpha, or 1 in the incubator.
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
        return Members(rows, heard, rows[heard], alpha[heard].view(EACH), pull.view(EACH))

    @property
    def any_heard(self) -> bool:
        """Whether the host hears any of these seeds."""
        return len(self.heard) > 0

    def take(self, x: Tensor) -> Tensor:
        """Return a copy [m, B, H, W, C] of the members' rows of x [n, B, H, W, C]."""
        return x.index_select(0, self.rows)

    def only_heard(self, x: Tensor) -> Tensor:
        """Return the heard seeds [k, B, H, W, C] of x [m, B, H, W, C]."""
        return x if len(self.heard) == len(self.rows) else x.index_select(0, self.heard)

    def put_heard(self, x: Tensor, rows: Tensor) -> None:
        """Overwrite the heard seeds' rows of x [n, B, H, W, C] by `rows` [k, B, H, W, C]."""
        x.index_copy_(0, self.targets, rows)


def blend(h: Tensor, banks: Sequence[Members], taken: Sequence[Tensor], seeds: Sequence[Tensor]) -> Tensor:
    """Return h [n, B, H, W, C] with each bank's seed outputs blended into its rows; h itself if none is heard.

    taken, seeds: what each bank's seeds read and made of it, [m, B, H, W, C].
    """
    if not any(members.any_heard for members in banks):
        return h
    out = h.clone()
    for members, own, s in zip(banks, taken, seeds):
        if members.any_heard:
            members.put_heard(
                out, torch.lerp(members.only_heard(own), members.only_heard(s), members.alpha.to(h.dtype))
            )
    return out


def unblend(g: Tensor, members: Members, through_seeds: Callable[[Tensor], Tensor]) -> None:
    """Turn the blended activation's gradient g [n, B, H, W, C], in place, into the host's own.

    through_seeds: runs the seeds backward, from their outputs' gradient to their inputs'. A host whose seed incubates
        keeps its gradient untouched.
    """
    taken = members.take(g)
    if not members.any_heard:
        through_seeds(taken)
        return
    back = through_seeds(taken * members.pull.to(g.dtype))
    own = members.only_heard(taken) * (1 - members.alpha.to(g.dtype))
    members.put_heard(g, own.add_(members.only_heard(back)))
