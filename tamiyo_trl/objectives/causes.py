"""Why recomputed log-probabilities differ from collected ones: each cause leaves a trace that can be tested for."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import torch
from tensordict import TensorDictBase
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
    for trace in (_random_layer, _mask_trace, _reset_trace, _blank_state, _changed_state):
        for part in parts:
            cause = trace(actor_critic, part)
            if cause is not Cause.NONE:
                return cause
    return Cause.UNKNOWN


def _random_layer(actor_critic: ActorCritic, part: TensorDictBase) -> Cause:
    first, second = (log_probs(actor_critic, part, recurrent=True) for _ in range(2))
    return Cause.NONE if torch.equal(first, second) else Cause.RANDOM_LAYER


def _mask_trace(actor_critic: ActorCritic, part: TensorDictBase) -> Cause:
    """A mask that forbids the action, explains nothing, or grew after the action was drawn."""
    if actor_critic.mask_key is None:
        return Cause.NONE
    stored, new = part[keys.LOG_PROB], log_probs(actor_critic, part, recurrent=False)
    wrong = (new - stored).abs() > CLOSE
    if not wrong.any():
        return Cause.NONE
    bare = part.copy()
    bare[actor_critic.mask_key] = torch.ones_like(part[actor_critic.mask_key])
    unmasked = log_probs(actor_critic, bare, recurrent=False)
    if _close(unmasked, stored):
        return Cause.IGNORED_MASK
    if (new < IMPOSSIBLE).any():
        return Cause.LOST_MASK
    everything_legal = part[actor_critic.mask_key].flatten(2).all(-1)
    shrunk = new < stored  # an action is likelier under a mask than without: a lost mask only ever lowers it
    return Cause.LOST_MASK if (everything_legal & shrunk)[wrong].all() else Cause.NONE


def _reset_trace(actor_critic: ActorCritic, part: TensorDictBase) -> Cause:
    if not actor_critic.state_keys:
        return Cause.NONE
    blank = torch.stack([(part[key] == 0).flatten(2).all(-1) for key in actor_critic.state_keys]).all(0)
    starts = part[keys.IS_INIT].squeeze(-1)
    if (starts & ~blank).any():
        return Cause.CARRIED_STATE
    return Cause.UNMARKED_RESET if (blank & ~starts)[:, 1:].any() else Cause.NONE


def _blank_state(actor_critic: ActorCritic, part: TensorDictBase) -> Cause:
    if not actor_critic.state_keys or _close(log_probs(actor_critic, part, recurrent=False), part[keys.LOG_PROB]):
        return Cause.NONE
    blank = part.copy()
    for key in actor_critic.state_keys:
        blank[key] = torch.zeros_like(part[key])
    matches = _close(log_probs(actor_critic, blank, recurrent=False), part[keys.LOG_PROB])
    return Cause.BLANK_STATE if matches else Cause.NONE


def _changed_state(actor_critic: ActorCritic, part: TensorDictBase) -> Cause:
    """Single steps agree with collection, but the state one ends with is not the state the next one starts from."""
    if not actor_critic.state_keys or part.shape[1] < 2:
        return Cause.NONE
    data = part.select(*actor_critic.policy.in_keys)
    with torch.no_grad(), set_recurrent_mode(False):
        log_prob = actor_critic.policy.get_dist(data).log_prob(part[keys.ACTION])
    if not _close(log_prob, part[keys.LOG_PROB]):
        return Cause.NONE
    inside = ~part[keys.IS_INIT].squeeze(-1)[:, 1:]
    same = all(
        _close(data["next", key][:, :-1][inside], part[key][:, 1:][inside]) for key in actor_critic.state_keys
    )
    return Cause.NONE if same else Cause.CHANGED_STATE


def _close(left: torch.Tensor, right: torch.Tensor) -> bool:
    return bool(((left - right).abs() <= CLOSE).all())
