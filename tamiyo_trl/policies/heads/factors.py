"""How several masked heads form one joint distribution: side by side, gated by the first head, or one after another.

Every factorisation offers `sample`, `mode`, `log_prob` over head indices int64 [*B, D], and `entropies` (one [*B] per
head). Illegal logits become a large finite negative number in at least float32, so that 0 * log 0 is 0 and no gradient
is NaN.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from tamiyo_trl.errors import SpecError
from tamiyo_trl.policies.heads.legality import legal_ops

ILLEGAL = -1e30  # log-probability of the impossible: exp gives exactly 0, and 0 * ILLEGAL is still 0


class Factors(Protocol):
    """What MaskedHeads needs from a factorisation."""

    def sample(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Return head indices int64 [*shape, *B, D]."""

    def mode(self) -> Tensor:
        """Return the most probable joint action, int64 [*B, D]."""

    def log_prob(self, index: Tensor) -> Tensor:
        """Return the joint log-probability, [*B]."""

    def entropies(self) -> list[Tensor]:
        """Return each head's expected conditional entropy, D times [*B]."""


def factorise(logits: Tensor, mask: Tensor | None, nvec: tuple[int, ...], relevant: Tensor | None) -> Factors:
    """Return the factorisation that the mask's trailing shape asks for.

    Raises:
        SpecError: the mask fits neither layout, or `relevant` comes with a joint mask.
    """
    batch = logits.shape[:-1]
    logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.bool()
    if mask is None or mask.shape == logits.shape:
        if mask is not None and relevant is not None:
            parts = list(mask.split(nvec, -1))
            mask = torch.cat([legal_ops(parts, relevant), *parts[1:]], -1)
        legal = logits if mask is None else logits.masked_fill(~mask, ILLEGAL)
        if len(nvec) == 1:
            return Single(legal.log_softmax(-1))
        tables = [part.log_softmax(-1) for part in legal.split(nvec, -1)]
        return Independent(tables) if relevant is None else Relevant(tables, relevant)
    if mask.shape == (*batch, *nvec) and relevant is None:
        return Conditional(logits, mask, nvec)
    raise SpecError(
        f"mask of shape {tuple(mask.shape)} fits neither {tuple(logits.shape)} (independent heads) nor "
        f"{(*batch, *nvec)} (joint, without a relevance table)"
    )


class Single:
    """One masked head."""

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs

    def sample(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Return head indices by the Gumbel-max trick."""
        drawn_from = self.log_probs.expand(*shape, *self.log_probs.shape) if shape else self.log_probs
        return _gumbel_argmax(drawn_from).unsqueeze(-1)

    def mode(self) -> Tensor:
        """Return the most probable action."""
        return self.log_probs.argmax(-1, keepdim=True)

    def log_prob(self, index: Tensor) -> Tensor:
        """Return the log-probability."""
        return _pick(self.log_probs, index[..., 0])

    def entropies(self) -> list[Tensor]:
        """Return the entropy."""
        return [_entropy(self.log_probs)]


class Independent:
    """Heads side by side, each with its own mask."""

    def __init__(self, log_probs: list[Tensor]) -> None:
        self.log_probs = log_probs

    def sample(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Return head indices by the Gumbel-max trick, head by head."""
        return torch.stack([_gumbel_argmax(lp.expand(*shape, *lp.shape)) for lp in self.log_probs], -1)

    def mode(self) -> Tensor:
        """Return each head's most probable value, which is the joint mode."""
        return torch.stack([lp.argmax(-1) for lp in self.log_probs], -1)

    def log_prob(self, index: Tensor) -> Tensor:
        """Return the sum over heads."""
        return torch.stack([_pick(lp, index[..., i]) for i, lp in enumerate(self.log_probs)]).sum(0)

    def entropies(self) -> list[Tensor]:
        """Return each head's entropy."""
        return [_entropy(lp) for lp in self.log_probs]


class Relevant(Independent):
    """Heads side by side of which head 0, the op, decides which count: `relevant` bool [n_ops, D]."""

    def __init__(self, log_probs: list[Tensor], relevant: Tensor) -> None:
        super().__init__(log_probs)
        self.relevant = relevant.to(log_probs[0].device)

    def mode(self) -> Tensor:
        """Return the most probable joint action: an op is worth its own probability times its heads' best."""
        best = torch.stack([lp.amax(-1) for lp in self.log_probs[1:]], -1)
        worth = self.log_probs[0] + best @ self.relevant[:, 1:].to(best.dtype).T
        return torch.stack([worth.argmax(-1), *(lp.argmax(-1) for lp in self.log_probs[1:])], -1)

    def log_prob(self, index: Tensor) -> Tensor:
        """Return the sum over the heads that the chosen op makes relevant."""
        parts = torch.stack([_pick(lp, index[..., i]) for i, lp in enumerate(self.log_probs)], -1)
        return (parts * self.relevant[index[..., 0]]).sum(-1)

    def entropies(self) -> list[Tensor]:
        """Return each head's entropy times the probability that it is relevant."""
        weight = self.log_probs[0].exp() @ self.relevant.to(self.log_probs[0].dtype)
        return [weight[..., i] * _entropy(lp) for i, lp in enumerate(self.log_probs)]


class Conditional:
    """Heads one after another under a joint mask [*B, *nvec].

    Head k, given its predecessors, may take the values that some legal joint action continues; the heads' tables
    log p(a_k | a_0..a_{k-1}), shape [*B, n_0, ..., n_k], add up to the joint table, from which one draw samples all.
    """

    def __init__(self, logits: Tensor, mask: Tensor, nvec: tuple[int, ...]) -> None:
        self.nvec = nvec
        self.axes = len(nvec)
        batch = logits.shape[:-1]
        self.tables: list[Tensor] = []
        joint: Tensor | None = None
        for k, part in enumerate(logits.split(nvec, -1)):
            legal = mask.flatten(len(batch) + k + 1).any(-1) if k + 1 < self.axes else mask
            part = part.reshape(*batch, *[1] * k, nvec[k])
            table = part.expand(legal.shape).masked_fill(~legal, ILLEGAL).log_softmax(-1)
            self.tables.append(table)
            joint = table if joint is None else joint.unsqueeze(-1) + table
        self.joint = joint.flatten(len(batch))  # type: ignore[union-attr]  # there is at least one head

    def sample(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Return head indices, all heads from one Gumbel-max draw over the joint table."""
        return self._heads(_gumbel_argmax(self.joint.expand(*shape, *self.joint.shape)))

    def mode(self) -> Tensor:
        """Return the most probable joint action."""
        return self._heads(self.joint.argmax(-1))

    def log_prob(self, index: Tensor) -> Tensor:
        """Return the joint table's entry."""
        flat = index[..., 0]
        for k in range(1, self.axes):
            flat = flat * self.nvec[k] + index[..., k]
        return _pick(self.joint, flat)

    def _heads(self, flat: Tensor) -> Tensor:
        """Return head indices int64 [*, D] of places in the joint table, the last head fastest."""
        parts = []
        for n in reversed(self.nvec[1:]):
            parts.append(flat % n)
            flat = flat // n
        return torch.stack([flat, *reversed(parts)], -1)

    def entropies(self) -> list[Tensor]:
        """Return H(a_0), E[H(a_1 | a_0)], ...: each conditional entropy weighed by the probability of its prefix."""
        out = []
        prefix: Tensor | None = None  # log-probability of the heads so far
        for k, table in enumerate(self.tables):
            conditional = _entropy(table)
            out.append(conditional if prefix is None else (prefix.exp() * conditional).flatten(-k).sum(-1))
            prefix = table if prefix is None else prefix.unsqueeze(-1) + table
        return out


def _pick(table: Tensor, index: Tensor) -> Tensor:
    """Return table[..., index], broadcasting a leading sample shape of `index`."""
    if table.shape[:-1] != index.shape:
        table = table.expand(*index.shape, table.shape[-1])
    return table.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _entropy(log_probs: Tensor) -> Tensor:
    return -(log_probs.exp() * log_probs).sum(-1)


def _gumbel_argmax(log_probs: Tensor) -> Tensor:
    """Return one draw per row; the noise is finite, so the illegal can never win."""
    noise = torch.empty_like(log_probs, memory_format=torch.contiguous_format).exponential_()
    noise = noise.clamp_min_(torch.finfo(noise.dtype).tiny).log_()
    return (log_probs - noise).argmax(-1)
