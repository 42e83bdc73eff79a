"""Next values, advantages and value targets of a rollout, exact for recurrent critics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.modules import ValueNorm, set_recurrent_mode
from torchrl.objectives.value.functional import generalized_advantage_estimate

from tamiyo_trl import keys
from tamiyo_trl.errors import SpecError


@dataclass(frozen=True)
class Estimates:
    """What the rewards of a rollout say about its steps; every field is float32 [R, T, 1] in units of the reward.

    Attributes:
        value: V(s_t) as the critic saw it.
        advantage: generalised advantage estimate, not normalised.
        target: lambda-return, the critic's regression target (advantage + value).
    """

    value: torch.Tensor
    advantage: torch.Tensor
    target: torch.Tensor


def next_values(rows: TensorDictBase, critic: TensorDictModuleBase) -> torch.Tensor:
    """Return V(s_{t+1}) of `rows` [R, T] as float32 [R, T, 1], in the critic's own units; 0 where `terminated`.

    Inside an episode V(s_{t+1}) is the stored value of the following step. Where an episode was truncated or the row
    ends, the critic is called once, for a single step, from the *un-reset* next observation and next hidden state; a
    next state that is not stored is what the critic makes of the step itself.

    Raises:
        SpecError: the rows lack an entry under "next" that the critic reads.
    """
    value, terminated = rows[keys.STATE_VALUE], rows["next", keys.TERMINATED]
    following = torch.zeros_like(value)
    following[:, :-1] = value[:, 1:]
    bootstrap = rows["next", keys.DONE].clone()
    bootstrap[:, -1] = True
    bootstrap &= ~terminated
    where = bootstrap.squeeze(-1)
    if where.any():
        following[where] = _single_step_values(rows, critic, where)
    return following.masked_fill(terminated, 0.0)


def _single_step_values(rows: TensorDictBase, critic: TensorDictModuleBase, where: torch.Tensor) -> torch.Tensor:
    """Return the critic's value [n, 1] of the next state at the n steps of `rows` chosen by `where` [R, T]."""
    wanted = [key for key in critic.in_keys if key != keys.IS_INIT]
    following = rows["next"].select(*wanted, strict=False)[where]
    unstored = [key for key in wanted if key not in following.keys()]
    states = [key for key in unstored if ("next", key) in critic.out_keys]
    if states != unstored:
        lacking = [key for key in unstored if key not in states]
        raise SpecError(f'the batch lacks {lacking} under "next", which the bootstrap of truncated episodes reads')
    following[keys.IS_INIT] = torch.zeros(*following.shape, 1, dtype=torch.bool, device=where.device)
    with torch.no_grad(), set_recurrent_mode(False):
        if states:
            step = critic(rows.select(*critic.in_keys)[where])
            following.update({key: step["next", key] for key in states})
        return critic(following)[keys.STATE_VALUE]


def estimate(
    rows: TensorDictBase, critic: TensorDictModuleBase, value_norm: ValueNorm, *, gamma: float, gae_lambda: float
) -> Estimates:
    """Return the `Estimates` of `rows` [R, T], whose stored values are in the normalised units of `value_norm`.

    Source: Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", eq. 16;
    the sum is cut where an episode is done, and a truncated episode bootstraps from its last state.
    """
    following = value_norm.denormalize(next_values(rows, critic))
    value = value_norm.denormalize(rows[keys.STATE_VALUE])
    advantage, target = generalized_advantage_estimate(
        gamma,
        gae_lambda,
        value,
        following,
        rows["next", keys.REWARD],
        rows["next", keys.DONE],
        rows["next", keys.TERMINATED],
    )
    return Estimates(value, advantage, target)


def standardise(advantage: torch.Tensor, std_floor: float) -> torch.Tensor:
    """Return `advantage` with mean 0 and standard deviation 1 over the whole batch.

    The deviation is never taken below `std_floor`, so that a batch of equal advantages gives zeros, not noise.
    """
    centred = advantage - advantage.mean()
    return centred / centred.pow(2).mean().sqrt().clamp(min=std_floor)
