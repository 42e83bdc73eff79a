"""check_ratio: does the update see exactly the policy that collected? On anyone's environment and policy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torchrl.envs import EnvBase, ExplorationType, set_exploration_type

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.objectives.causes import Cause, likely_cause, log_probs
from tamiyo_trl.objectives.slices import as_rows
from tamiyo_trl.policies import ActorCritic


@dataclass(frozen=True)
class RatioReport:
    """What `check_ratio` found.

    Attributes:
        rows: environments, or workers times environments, that were rolled out.
        steps: steps per row.
        slice_len: steps per slice.
        step_error: largest |probability ratio - 1| when every step is recomputed from its own stored hidden state.
        slice_error: the same when slices are recomputed from the hidden state stored at their start.
        tolerance: largest error accepted.
        resets: episode starts inside a row.
        slice_resets: episode starts inside a slice.
        masked_share: share of action values that the masks forbade, in [0, 1].
        layers: recurrent layers of the memory (0: none).
        first_mismatch: (row, step) of the earliest step whose error is above the tolerance, or None.
        cause: the likely cause.
    """

    rows: int
    steps: int
    slice_len: int
    step_error: float
    slice_error: float
    tolerance: float
    resets: int
    slice_resets: int
    masked_share: float
    layers: int
    first_mismatch: tuple[int, int] | None
    cause: Cause

    @property
    def ok(self) -> bool:
        """Whether collection and update agree."""
        return self.cause is Cause.NONE

    def __str__(self) -> str:
        seen = (
            f"{self.rows} rows x {self.steps} steps in slices of {self.slice_len}: {self.resets} resets inside rows, "
            f"{self.slice_resets} inside slices, {self.masked_share:.0%} of actions masked, "
            f"{self.layers} recurrent layers"
        )
        errors = f"max |ratio - 1|: {self.step_error:.2g} step by step, {self.slice_error:.2g} in slices"
        if self.ok:
            return f"ok: {errors}; {seen}"
        where = (
            ""
            if self.first_mismatch is None
            else f"; first at row {self.first_mismatch[0]}, step {self.first_mismatch[1]}"
        )
        return f"MISMATCH: {errors} (allowed {self.tolerance:g}){where}; {seen}; cause: {self.cause}"


def check_ratio(
    actor_critic: ActorCritic, env: EnvBase, *, steps: int = 64, slice_len: int = 8, tolerance: float = 1e-4
) -> RatioReport:
    """Roll the policy out, recompute its log-probabilities as the update does, and report where they differ.

    `env` is used as it is, with the transforms it has; nothing is trained. A roll-out needs episode ends inside it for
    the resets to be tested: `resets` says how many it met.

    Raises:
        ConfigError: `steps` or `slice_len` is below 1, or `tolerance` is not positive.
    """
    for name, value in (("steps", steps), ("slice_len", slice_len)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1: {value}")
    if not tolerance > 0:
        raise ConfigError(f"tolerance must be positive: {tolerance}")
    first = env.reset()
    missing = Cause.NONE
    if any(key not in first.keys() for key in actor_critic.state_keys):
        missing = Cause.MISSING_PRIMER
    if keys.IS_INIT not in first.keys():
        missing = Cause.MISSING_TRACKER
    if missing is not Cause.NONE:
        rows, inf = env.batch_size.numel(), math.inf
        return RatioReport(
            rows, 0, slice_len, inf, inf, tolerance, 0, 0, 0.0, _layers(actor_critic, first), None, missing
        )
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        rollout = env.rollout(steps, actor_critic.collection_policy(), break_when_any_done=False)
    return compare(actor_critic, as_rows(rollout), slice_len, tolerance)


def compare(actor_critic: ActorCritic, rows: TensorDictBase, slice_len: int, tolerance: float) -> RatioReport:
    """Return the report on a rollout [R, T] that has already been collected."""
    actor_critic.check_batch(rows)
    slice_len = min(slice_len, rows.shape[1])
    pieces = [rows[:, first : first + slice_len] for first in range(0, rows.shape[1], slice_len)]
    by_step = _error(log_probs(actor_critic, rows, recurrent=False), rows)
    recomputed = [log_probs(actor_critic, piece, recurrent=True) for piece in pieces]
    by_slice = _error(torch.cat(recomputed, dim=1), rows)
    wrong = ~(torch.maximum(by_step, by_slice) <= tolerance)
    mismatch, cause = None, Cause.NONE
    if wrong.any():
        row, step = min(wrong.nonzero().tolist(), key=lambda place: place[1])
        mismatch, cause = (row, step), likely_cause(actor_critic, pieces)
    return RatioReport(
        rows=rows.shape[0],
        steps=rows.shape[1],
        slice_len=slice_len,
        step_error=float(by_step.max()),
        slice_error=float(by_slice.max()),
        tolerance=tolerance,
        resets=int(rows[keys.IS_INIT][:, 1:].sum()),
        slice_resets=sum(int(piece[keys.IS_INIT][:, 1:].sum()) for piece in pieces),
        masked_share=_masked_share(actor_critic, rows),
        layers=_layers(actor_critic, rows),
        first_mismatch=mismatch,
        cause=cause,
    )


def _error(log_prob: torch.Tensor, rows: TensorDictBase) -> torch.Tensor:
    return torch.expm1(log_prob - rows[keys.LOG_PROB]).abs()


def _masked_share(actor_critic: ActorCritic, rows: TensorDictBase) -> float:
    return 0.0 if actor_critic.mask_key is None else 1 - float(rows[actor_critic.mask_key].float().mean())


def _layers(actor_critic: ActorCritic, data: TensorDictBase) -> int:
    return max((data[key].shape[-2] for key in actor_critic.state_keys if key in data.keys()), default=0)
