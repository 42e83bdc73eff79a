"""Plain twin of MaskedHeads: every joint action enumerated with Python loops and math.exp, in double precision."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

Action = tuple[int, ...]


def softmax(logits: Sequence[float], legal: Sequence[bool]) -> list[float]:
    """Probabilities of the legal entries; the others get exactly 0."""
    top = max(logit for logit, ok in zip(logits, legal) if ok)
    weights = [math.exp(logit - top) if ok else 0.0 for logit, ok in zip(logits, legal)]
    return [weight / sum(weights) for weight in weights]


def split(values: Sequence[float], nvec: Sequence[int]) -> list[list[float]]:
    """`values` cut into one list per head."""
    ends = list(itertools.accumulate(nvec))
    return [list(values[end - n : end]) for end, n in zip(ends, nvec)]


def all_actions(nvec: Sequence[int]) -> list[Action]:
    """Every joint action, the last head fastest."""
    return list(itertools.product(*(range(n) for n in nvec)))


def conditional_joint(
    logits: Sequence[float], legal: Callable[[Action], bool], nvec: Sequence[int]
) -> dict[Action, float]:
    """Probability of every joint action when head k may take what some legal joint action continues."""
    heads = split(logits, nvec)
    legal_actions = [action for action in all_actions(nvec) if legal(action)]
    table = {}
    for action in all_actions(nvec):
        probability = 1.0
        for k in range(len(nvec)):
            prefix = action[:k]
            options = [any(a[: k + 1] == (*prefix, value) for a in legal_actions) for value in range(nvec[k])]
            if not any(options):
                probability = 0.0
                break
            probability *= softmax(heads[k], options)[action[k]]
        table[action] = probability
    return table


def relevant_joint(
    logits: Sequence[float], legal: Sequence[bool], nvec: Sequence[int], relevant: Sequence[Sequence[bool]]
) -> dict[Action, float]:
    """Probability of every joint action in which a head that the op makes irrelevant is written -1."""
    heads, masks = split(logits, nvec), split(legal, nvec)
    table: dict[Action, float] = {}
    for action in all_actions(nvec):
        counts = relevant[action[0]]
        key = tuple(value if counts[k] else -1 for k, value in enumerate(action))
        factors = [softmax(heads[k], masks[k])[value] for k, value in enumerate(action) if counts[k]]
        table[key] = math.prod(factors)
    return table


def entropy(probabilities: Sequence[float]) -> float:
    """Entropy in nats."""
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def head_entropies(table: dict[Action, float], heads: int) -> list[float]:
    """H(a_k | a_0 .. a_{k-1}) of each head from the joint table, by the chain rule: a difference of joint entropies."""
    joint = [0.0]
    for k in range(heads):
        marginal: dict[Action, float] = {}
        for action, probability in table.items():
            marginal[action[: k + 1]] = marginal.get(action[: k + 1], 0.0) + probability
        joint.append(entropy(list(marginal.values())))
    return [after - before for before, after in itertools.pairwise(joint)]
