"""What a mask allows: whether anything is legal at all, and whether one joint action is."""

from __future__ import annotations

import torch
from torch import Tensor


def is_playable(mask: Tensor, nvec: tuple[int, ...], relevant: Tensor | None, joint: bool) -> Tensor:
    """Return where some joint action is legal, bool [*B].

    `mask` is [*B, *nvec] where it is `joint`, else [*B, sum(nvec)]; `relevant` bool [n_ops, D] says which heads count
    once head 0 chose op: an op one of whose heads has no legal value is not legal either.
    """
    mask = mask.bool()
    if joint:
        return mask.flatten(-len(nvec)).any(-1)
    if relevant is not None:
        return legal_ops(list(mask.split(nvec, -1)), relevant).any(-1)
    return torch.stack([part.any(-1) for part in mask.split(nvec, -1)]).all(0)


def legal_ops(parts: list[Tensor], relevant: Tensor) -> Tensor:
    """Return head 0's mask [*B, n_ops] without the ops that need a head which has no legal value."""
    empty = torch.stack([~part.any(-1) for part in parts], -1)
    needs = relevant.to(empty.device)
    return parts[0] & ~(empty.unsqueeze(-2) & needs).any(-1)


def is_allowed(mask: Tensor, index: Tensor, nvec: tuple[int, ...], relevant: Tensor | None, joint: bool) -> Tensor:
    """Return whether the mask allows the joint actions `index` int64 [*B, D], bool [*B]; see `is_playable`."""
    mask = mask.bool()
    if joint:
        flat = index[..., 0]
        for k in range(1, len(nvec)):
            flat = flat * nvec[k] + index[..., k]
        return mask.flatten(-len(nvec)).gather(-1, flat.unsqueeze(-1)).squeeze(-1)
    picked = [part.gather(-1, index[..., k : k + 1]) for k, part in enumerate(mask.split(nvec, -1))]
    allowed = torch.cat(picked, -1)
    if relevant is not None:
        allowed = allowed | ~relevant.to(index.device)[index[..., 0]]
    return allowed.all(-1)
