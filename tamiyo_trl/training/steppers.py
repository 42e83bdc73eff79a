"""How the collector's loop steps an environment: plain environments by their own maths alone, others as TorchRL does.

Both give the same numbers. TorchRL's `step_and_maybe_reset` makes and checks several tensordicts per step; where an
environment is a plain `EnvBase`, only its `_step` and `_reset` do any work, and the rest is done here with tensors.
"""

from __future__ import annotations

from typing import Any, Protocol

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
    plain = all(getattr(type(env), name, None) is getattr(EnvBase, name, None) for name in UNTOUCHED)
    flags = set(env.done_keys)
    as_usual = {keys.DONE, keys.TERMINATED} <= flags and not env.run_type_checks
    if plain and as_usual and "_compiled_step_and_maybe_reset" not in env.__dict__:
        return PlainStepper(env)
    return TorchRLStepper(env)


class TorchRLStepper:
    """Any environment, by its `step_and_maybe_reset`."""

    def __init__(self, env: EnvBase) -> None:
        self._env = env

    def step(self, shown: Entries, action: Tensor) -> tuple[Entries, Entries]:
        """Take one step."""
        env = self._env
        taken, ahead = env.step_and_maybe_reset(
            TensorDict({**shown, keys.ACTION: action}, env.batch_size, env.device),
        )
        return leaves(taken.get("next")), dict(ahead.items())


class PlainStepper:
    """A plain `EnvBase`, by its `_step`; TorchRL's own reset where an episode is done."""

    def __init__(self, env: EnvBase) -> None:
        self._env = env
        self._flags = {key: env.full_done_spec[key].shape for key in env.done_keys}
        self._reward_shape = env.full_reward_spec[keys.REWARD].shape
        self._kept: list[NestedKey] | None = None

    def step(self, shown: Entries, action: Tensor) -> tuple[Entries, Entries]:
        """Take one step."""
        env = self._env
        taken = TensorDict({**shown, keys.ACTION: action}, env.batch_size, env.device)
        after = env._step(taken)
        if not self._is_complete(after):
            after = env._step_proc_data(after)
        if self._kept is None:
            self._kept = list(env._step_mdp(taken.set("next", after)).keys())
        found = dict(after.items())
        ahead = {key: found[key] if key in found else shown[key] for key in self._kept}
        if found[keys.DONE].any():
            ahead = dict(env.maybe_reset(TensorDict(ahead, env.batch_size, env.device)).items())
        return leaves(after), ahead

    def _is_complete(self, after: TensorDictBase) -> bool:
        """Return whether the environment wrote reward and every flag in the shapes of its specs."""
        if after.get(keys.REWARD).shape != self._reward_shape:
            return False
        found = [after.get(key, None) for key in self._flags]
        return all(flag is not None and flag.shape == shape for flag, shape in zip(found, self._flags.values()))


def leaves(entries: TensorDictBase) -> Entries:
    """Return every leaf of `entries` under its own key."""
    return {key: value for key, value in entries.items(include_nested=True, leaves_only=True)}
