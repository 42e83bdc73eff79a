"""MaskedHeads: one exact joint distribution over several masked categorical heads.

The layout of the mask decides how the heads depend on each other (see `factors.py`); the action spec decides how an
action is written (see `actions.py`). The distribution itself only joins the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDict
from torch import Tensor, distributions

from tamiyo_trl.policies.actions import ActionCode
from tamiyo_trl.policies.heads.factors import factorise


class MaskedHeads(distributions.Distribution):
    """Joint distribution of D masked categorical heads.

    `logits` float [*B, sum(nvec)]: the heads' logits side by side. `mask` bool, true where legal: [*B, sum(nvec)]
    (independent masks side by side), [*B, *nvec] (the joint mask: a head's mask follows exactly from the heads before
    it) or None. `relevant` bool [n_ops, D], for independent masks only: which heads count once head 0 chose op.
    An illegal action has probability exactly 0 and a finite, hugely negative log-probability; a mask without any legal
    action gives the uniform distribution, never NaN.

    Args:
        action: how actions are written: sizes and names of the heads, and the coding of a sample.
    """

    arg_constraints: dict[str, distributions.constraints.Constraint] = {}  # noqa: RUF012 (torch's own declaration)
    has_rsample = False

    def __init__(
        self, logits: Tensor, mask: Tensor | None = None, *, action: ActionCode, relevant: Tensor | None = None
    ):
        self.action = action
        self.factors = factorise(logits, mask, action.nvec, relevant)
        super().__init__(logits.shape[:-1], torch.Size(action.event_shape), validate_args=False)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return independent samples, [*sample_shape, *B, *event]; an illegal joint action is never drawn."""
        return self.action.encode(self.factors.sample(tuple(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the exact joint log-probability of `value`, float [*B]; irrelevant heads do not count."""
        return self.factors.log_prob(self.action.decode(value))

    @property
    def mode(self) -> Tensor:
        """The single most probable joint action (the first of equals)."""
        return self.action.encode(self.factors.mode())

    @property
    def mean(self) -> Tensor:
        """The mode, for evaluation under ExplorationType.MEAN: an action that is a choice has no mean."""
        return self.mode

    @property
    def median(self) -> Tensor:
        """The mode, for evaluation under ExplorationType.MEDIAN."""
        return self.mode

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode: what TensorDict's deterministic interaction asks for."""
        return self.mode

    def head_entropies(self) -> TensorDict:
        """Return the entropy each head adds, H(a0), E[H(a1 | a0)], ..., float [*B] by name; they sum to the joint."""
        return TensorDict(dict(zip(self.action.head_names, self.factors.entropies())), self.batch_shape)

    def entropy(self) -> Tensor:
        """Return the exact joint entropy in nats, float [*B]; a step with one legal action adds exactly 0."""
        return sum(self.factors.entropies(), torch.zeros(()))


class CompositeMaskedHeads(MaskedHeads):
    """MaskedHeads whose entropy is told head by head, the form in which ClipPPOLoss weighs and logs each head."""

    def entropy(self) -> TensorDict:
        """Return `head_entropies()`."""
        return self.head_entropies()
