"""Whether a batch is what it claims to be: rows in which each step follows the one before, by legal actions."""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDictBase

from tamiyo_trl import keys
from tamiyo_trl.errors import IllegalActionError, SpecError
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.policies.heads.legality import is_allowed


def check_rows(actor_critic: ActorCritic, rows: TensorDictBase) -> None:
    """Check a rollout [R, T] before anything is learned from it.

    Raises:
        SpecError: a step that does not follow the one before it: workers concatenated along time, a reshaped or
            shuffled batch, or entries that an environment rewrote after they were seen.
        IllegalActionError: a stored action that its own stored mask forbids, or a mask that forbids everything.
    """
    _check_order(actor_critic, rows)
    interface = actor_critic.networks.interface
    if interface.mask_key is None:
        return
    mask = rows[interface.mask_key]
    interface.check_playable(mask, rows.shape[-1:])
    index = interface.heads.decode(rows[keys.ACTION])
    allowed = is_allowed(mask, index, interface.heads.nvec, interface.relevant, interface.joint)
    if not allowed.all():
        row, step = (~allowed).nonzero()[0].tolist()
        raise IllegalActionError(
            f"row {row}, step {step}: the stored action {index[row, step].tolist()} is forbidden by the mask stored "
            "with it, so mask or action was changed after the action was drawn"
        )


def _check_order(actor_critic: ActorCritic, rows: TensorDictBase) -> None:
    """Compare what each step leaves with what the next one starts from."""
    done = rows["next", keys.DONE].squeeze(-1)[:, :-1]
    started = rows[keys.IS_INIT].squeeze(-1)[:, 1:]
    _refuse(done & ~started, "an episode ends, but the next step is not marked as the first of another (is_init)")
    mask = () if actor_critic.mask_key is None else (actor_critic.mask_key,)
    for key in (actor_critic.observation_key, *mask):
        _compare(rows, ("next", key), key, done)
    _compare(rows, ("collector", "traj_ids"), ("collector", "traj_ids"), done)


def _compare(rows: TensorDictBase, left: NestedKey, entered: NestedKey, done: torch.Tensor) -> None:
    before, after = rows.get(left, None), rows.get(entered, None)
    if before is None or after is None or before.shape != after.shape:
        return
    before, after = before[:, :-1], after[:, 1:]
    same = (before == after) | ~before.isfinite() | ~after.isfinite()  # those are told by name further on
    wrong = ~same.reshape(*done.shape, -1).all(-1) & ~done
    _refuse(wrong, f"the next step's {entered!r} is not the one that this step led to")


def _refuse(wrong: torch.Tensor, what: str) -> None:
    if wrong.any():
        row, step = wrong.nonzero()[0].tolist()
        raise SpecError(
            f"row {row}, step {step}: {what}; a batch must be [*, T], each row in the order of time: stack workers "
            "along a batch axis (cat_results='stack'), do not shuffle or reshape steps"
        )
