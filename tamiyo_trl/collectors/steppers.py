"""Equals TorchRL's `step_and_maybe_reset` (tests/collectors/test_lean.py), with fewer tensordicts made per step.

Plain environments are stepped by their own maths alone, others as TorchRL does.

Both give the same numbers, in copies: an environment may reuse the memory of what it returns. TorchRL's
`step_and_maybe_reset` makes and checks several tensordicts per step; where an environment is a plain `EnvBase`, only
its `_step` and `_reset` do any work, and the rest is done here with tensors.
"""

from __future__ import annotations

from inspect import getattr_static
from typing import Any, Protocol

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import Tensor
from torchrl.envs import EnvBase

from tamiyo_trl import keys

Entries = dict[NestedKey, Any]

UNTOUCHED = (  # what TorchRL does around `_step` and `_reset`; an environment that changes any of it is not plain
    "step",
    "step_and_maybe_reset",
    "_step_and_maybe_reset",
    "_step_proc_data",
    "_step_mdp",
    "_complete_done",
    "_post_step_mdp_hooks",
    "any_done",
    "maybe_reset",
    "reset",
    "_reset_proc_data",
    "_reset_check_done",
)


class Stepper(Protocol):
    """Steps an environment from entries to entries."""

    def step(self, shown: Entries, action: Tensor) -> tuple[Entries, Entries]:
        """Return what the step left, leaf by leaf, and what is shown next: new episodes begin where one is done."""


def stepper_of(env: EnvBase) -> Stepper:
    """Return how to step `env`."""
    plain = all(getattr_static(env, name) is getattr_static(EnvBase, name) for name in UNTOUCHED)
    usual = {keys.DONE, keys.TERMINATED} <= set(env.done_keys) and not env.run_type_checks
    return PlainStepper(env) if plain and usual else TorchRLStepper(env)


class TorchRLStepper:
    """Any environment, by its `step` and `maybe_reset`, between which what the step left is copied."""

    def __init__(self, env: EnvBase) -> None:
        self._env = env

    def step(self, shown: Entries, action: Tensor) -> tuple[Entries, Entries]:
        """Take one step."""
        env = self._env
        taken = env.step(TensorDict(_copies({**shown, keys.ACTION: action}), env.batch_size, env.device))
        left = taken.get("next").clone()
        over = left.get(keys.DONE).any()
        ahead = env._step_mdp(taken.set("next", left))
        if env._post_step_mdp_hooks is not None:
            taken, ahead = env._post_step_mdp_hooks(taken, ahead)
            left = taken.get("next")
        ahead = env.maybe_reset(ahead)
        return leaves(left), dict((ahead.clone() if over else ahead).items())


class PlainStepper:
    """A plain `EnvBase`, by its `_step` and `_reset`; TorchRL completes and checks what these left out."""

    def __init__(self, env: EnvBase) -> None:
        self._env = env
        self._batch_size, self._device = env.batch_size, env.device
        self._shapes = {key: env.full_done_spec[key].shape for key in env.done_keys}
        self._reward_shape = env.full_reward_spec[keys.REWARD].shape
        self._reset_settings = {"set_state": False} if env._supports_set_state else {}
        self._kept: list[NestedKey] = []

    def step(self, shown: Entries, action: Tensor) -> tuple[Entries, Entries]:
        """Take one step."""
        taken = self._bundle(_copies({**shown, keys.ACTION: action}))
        after = self._env._step(taken)
        found = dict(after.items())
        if not self._are_complete(found) or found[keys.REWARD].shape != self._reward_shape:
            after = self._env._step_proc_data(after)
            found = dict(after.items())
        if not self._kept:  # the same at every step
            kept = self._env._step_mdp(taken.set("next", after)).keys()
            self._kept = [key for key in kept if key != keys.ACTION]
        own = _copies(found)  # before a reset, or the next step, writes into what the environment returned
        flat = all(isinstance(value, Tensor) for value in own.values())
        left = own if flat else leaves(self._bundle(own))
        ahead = {key: _apart(own[key] if key in own else shown[key]) for key in self._kept}
        if own[keys.DONE].any():
            ahead = self._begin(ahead, own[keys.DONE])
        return left, ahead

    def _begin(self, ahead: Entries, over: Tensor) -> Entries:
        """Return what is shown once new episodes have begun where `over` bool [*B, 1] is set."""
        begun = self._env._reset(self._bundle({"_reset": over.clone()}), **self._reset_settings)
        found = dict(begun.items())
        simple = found.keys() == ahead.keys() and all(isinstance(value, Tensor) for value in found.values())
        if not simple or not self._are_complete(found) or any(found[key].any() for key in self._shapes):
            asked = TensorDict({**ahead, "_reset": over.clone()}, self._batch_size, self._device)
            return _copies(dict(self._env._reset_proc_data(asked, begun).items()))
        return {key: torch.where(_wide(over, old), found[key], old) for key, old in ahead.items()}

    def _bundle(self, entries: Entries) -> TensorDictBase:
        """Return entries of this environment, or of its form, as a tensordict; nothing is checked again."""
        return TensorDict._new_unsafe(entries, batch_size=self._batch_size, device=self._device)

    def _are_complete(self, found: Entries) -> bool:
        """Return whether every flag is there in the shape of its spec."""
        return all(key in found and found[key].shape == shape for key, shape in self._shapes.items())


def _copies(entries: Entries) -> Entries:
    """Return `entries` in memory of their own: environments reuse what they return, and write into what they get."""
    return {
        key: value.clone() if isinstance(value, Tensor | TensorDictBase) else value for key, value in entries.items()
    }


def _apart(entry: Any) -> Any:
    """Return `entry`, nested entries in a tensordict of their own."""
    return entry.copy() if isinstance(entry, TensorDictBase) else entry


def _wide(over: Tensor, like: Tensor) -> Tensor:
    """Return `over` [*B, 1] so that it broadcasts against `like` [*B, ...]."""
    return over.reshape(*over.shape[:-1], *[1] * (like.ndim - over.ndim + 1))


def leaves(entries: TensorDictBase) -> Entries:
    """Return every leaf of `entries` under its own key."""
    return dict(entries.items(include_nested=True, leaves_only=True))
