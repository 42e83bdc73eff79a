"""Rows of time steps cut where episodes begin, so that one RNN call runs all pieces from their own first states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pieces:
    """The pieces of rows [B, L] cut before every step that starts an episode.

    Attributes:
        first: flat index b * L + t of each piece's first step, int64 [P].
        slot: flat index p * longest + offset at which each step lies when pieces are padded, int64 [B * L].
        longest: length of the longest piece.
    """

    first: Tensor
    slot: Tensor
    longest: int

    def pad(self, x: Tensor) -> Tensor:
        """Return [B, L, F] as padded pieces [P, longest, F]."""
        out = x.new_zeros(len(self.first) * self.longest, x.shape[-1])
        return out.index_copy(0, self.slot, x.flatten(0, 1)).view(len(self.first), self.longest, -1)

    def join(self, padded: Tensor, rows: int) -> Tensor:
        """Return padded pieces [P, longest, F] as rows [B, L, F]."""
        return padded.flatten(0, 1).index_select(0, self.slot).view(rows, -1, padded.shape[-1])


def cut(is_init: Tensor) -> Pieces | None:
    """Return the pieces of rows marked by `is_init` bool [B, L], or None where no row is cut inside."""
    if not is_init[:, 1:].any():
        return None
    starts = is_init.clone()
    starts[:, 0] = True
    starts = starts.flatten()
    first = starts.nonzero().squeeze(-1)
    piece = starts.cumsum(0) - 1
    offset = torch.arange(len(starts), device=is_init.device) - first[piece]
    longest = int(offset.max()) + 1
    return Pieces(first, piece * longest + offset, longest)
