"""Renewal of a rollout's hidden states under the current weights."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.modules import set_recurrent_mode

from tamiyo_trl import keys


@torch.no_grad()
def renew(rows: TensorDictBase, walk: TensorDictModuleBase, state_keys: tuple[str, ...]) -> TensorDictBase:
    """Return `rows` [R, T] with the hidden states and values the current weights of `walk` would have stored.

    `walk` takes one step (see `ActorCritic.walk`) and goes through the rows as at collection; actions and
    log-probabilities stay what they were. A row starts from its stored hidden state, the one thing that no step of the
    rollout can renew; an episode that starts inside a row starts from what its reset stored.
    """
    steps: list[TensorDictBase] = []
    for t in range(rows.shape[1]):
        step = rows[:, t].select(*walk.in_keys)
        if steps:
            for state_key in state_keys:
                carried = steps[-1]["next", state_key]
                starts = step[keys.IS_INIT].reshape(-1, *[1] * (carried.ndim - 1))
                step[state_key] = torch.where(starts, step[state_key], carried)
        with set_recurrent_mode(False):
            steps.append(walk(step))
    renewed = rows.copy()
    renewed["next"] = rows["next"].copy()
    stored = [("next", key) for key in state_keys if ("next", key) in rows.keys(include_nested=True)]
    written: list[NestedKey] = [keys.STATE_VALUE, *state_keys, *stored]
    for key in written:
        renewed[key] = torch.stack([step[key] for step in steps], dim=1)
    return renewed
