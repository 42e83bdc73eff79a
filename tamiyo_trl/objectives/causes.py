"""Why recomputed log-probabilities differ from collected ones: each cause leaves a trace that can be tested for."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.modules import set_recurrent_mode

from tamiyo_trl import keys
from tamiyo_trl.policies import ActorCritic

CLOSE = 1e-4
IMPOSSIBLE = -1e6  # nats: only a forbidden action is this unlikely


class Cause(Enum):
    """What makes collection and update disagree; the value is advice to the user."""

    NONE = "none: collection and update agree"
    MISSING_TRACKER = "is_init is missing: wrap the environment in actor_critic.transforms()"
    MISSING_PRIMER = (
        "missing primer: the hidden state is not carried, so the policy runs without memory; wrap the environment in "
        "actor_critic.transforms()"
    )
    RANDOM_LAYER = "a layer draws random numbers (dropout, noise): collect and update in eval() mode or remove it"
    LOST_MASK = "lost mask: the mask stored with a step is not the one its action was drawn under"
    IGNORED_MASK = "lost mask: actions were drawn as if everything were legal, but the update applies the mask"
    CARRIED_STATE = "wrong reset: a hidden state survives the start of an episode (is_init set, state not zero)"
    UNMARKED_RESET = "wrong reset: a hidden state restarts inside an episode without is_init being set"
    CHANGED_STATE = "the hidden state a step starts from is not the one the step before it ended with"
    BLANK_STATE = "missing primer: the policy ran from a blank hidden state, not from the stored one"
    UNKNOWN = "the weights moved after collection, or a stored entry was changed (in-place writes of an environment?)"

    def __str__(self) -> str:
        return str(self.value)


def log_probs(actor_critic: ActorCritic, rows: TensorDictBase, *, recurrent: bool) -> torch.Tensor:
    """Return log-probabilities [R, T] of the stored actions: from rows at once, or step by step from stored states."""
    data = rows.select(*actor_critic.policy.in_keys)
    with torch.no_grad(), set_recurrent_mode(recurrent):
        return actor_critic.policy.get_dist(data).log_prob(rows[keys.ACTION])


def likely_cause(actor_critic: ActorCritic, parts: Sequence[TensorDictBase]) -> Cause:
    """Return why the log-probabilities of the slices `parts` [S, L] cannot be recomputed; the first trace found."""
    read = [*actor_critic.policy.in_keys, keys.ACTION, keys.LOG_PROB]
    steps: TensorDictBase = TensorDict.cat([part.select(*read).reshape(-1) for part in parts])
    agree = _close(log_probs(actor_critic, steps, recurrent=False), steps[keys.LOG_PROB])
    if any(_is_random(actor_critic, part) for part in parts):
        return Cause.RANDOM_LAYER
    cause = Cause.NONE
    if not agree and actor_critic.mask_key is not None:
        cause = _mask_trace(actor_critic, steps, actor_critic.mask_key)
    if cause is Cause.NONE and actor_critic.memory.state_keys:
        cause = _reset_trace(actor_critic, parts)
        if cause is Cause.NONE and not agree and _ran_blank(actor_critic, steps):
            cause = Cause.BLANK_STATE
        if cause is Cause.NONE and agree and any(_state_jumps(actor_critic, part) for part in parts):
            cause = Cause.CHANGED_STATE
    return Cause.UNKNOWN if cause is Cause.NONE else cause


def _is_random(actor_critic: ActorCritic, part: TensorDictBase) -> bool:
    first, second = (log_probs(actor_critic, part, recurrent=True) for _ in range(2))
    return not torch.equal(first, second)


def _mask_trace(actor_critic: ActorCritic, steps: TensorDictBase, mask_key: str) -> Cause:
    """Look for masks that explain everything by their absence, forbid the action, or grew after it was drawn."""
    stored, new = steps[keys.LOG_PROB], log_probs(actor_critic, steps, recurrent=False)
    bare = steps.copy()
    bare[mask_key] = torch.ones_like(steps[mask_key])
    if _close(log_probs(actor_critic, bare, recurrent=False), stored):
        return Cause.IGNORED_MASK
    if (new < IMPOSSIBLE).any():
        return Cause.LOST_MASK
    wrong = (new - stored).abs() > CLOSE
    everything_legal = steps[mask_key].flatten(1).all(-1)
    # A mask only ever raises the probability of a legal action: losing it lowers the action's.
    return Cause.LOST_MASK if (everything_legal & (new < stored))[wrong].all() else Cause.NONE


def _reset_trace(actor_critic: ActorCritic, parts: Sequence[TensorDictBase]) -> Cause:
    """Look for episode starts whose state is not blank, and blank states inside an episode."""
    unmarked = False
    for part in parts:
        blank = torch.stack([(part[key] == 0).flatten(2).all(-1) for key in actor_critic.memory.state_keys]).all(0)
        starts = part[keys.IS_INIT].squeeze(-1)
        if (starts & ~blank).any():
            return Cause.CARRIED_STATE
        unmarked |= bool((blank & ~starts)[:, 1:].any())
    return Cause.UNMARKED_RESET if unmarked else Cause.NONE


def _ran_blank(actor_critic: ActorCritic, steps: TensorDictBase) -> bool:
    blank = steps.copy()
    for key in actor_critic.memory.state_keys:
        blank[key] = torch.zeros_like(steps[key])
    return _close(log_probs(actor_critic, blank, recurrent=False), steps[keys.LOG_PROB])


def _state_jumps(actor_critic: ActorCritic, part: TensorDictBase) -> bool:
    """Whether, inside an episode, the state a step ends with is not the state the next one starts from."""
    data = part.select(*actor_critic.policy.in_keys)
    with torch.no_grad(), set_recurrent_mode(False):
        actor_critic.policy.get_dist_params(data)
    inside = ~part[keys.IS_INIT].squeeze(-1)[:, 1:]
    return not all(
        _close(data["next", key][:, :-1][inside], part[key][:, 1:][inside]) for key in actor_critic.memory.state_keys
    )


def _close(left: torch.Tensor, right: torch.Tensor) -> bool:
    return bool(((left - right).abs() <= CLOSE).all())
