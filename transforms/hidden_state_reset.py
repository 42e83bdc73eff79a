"""HiddenStateReset: makes a recurrent policy forget in mid-episode, to measure what its memory is worth."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor
from torchrl.data import Composite, TensorSpec, Unbounded
from torchrl.envs import Compose, EnvBase, TensorDictPrimer, Transform, TransformedEnv


class HiddenStateReset(Transform):
    """Puts the recurrent state back to its start and raises `is_init` at chosen steps inside an episode.

    Place it after InitTracker and the policy's primers. The state becomes what the primer gives at an episode's start
    (zeros, which is also where a learned initial state begins). The episode itself goes on: rewards, sums, step counts
    and done flags are untouched. Because `is_init` then no longer means "an episode begins", the transform also writes
    `step_key`, int64 [*, 1]: the number of steps since the episode began, 0 exactly at its start.

    Args:
        every: reset whenever this many steps have passed, at steps `every`, 2 `every`, ... of an episode.
        at: reset at these steps of an episode (1 is the step after the first action). Give `every` or `at`.
        state_keys: the recurrent entries; where empty, all those of the primers before this transform.
        step_key: where the steps since the episode's start are written.
        init_key: what InitTracker writes.

    Raises:
        ValueError: neither or both of `every` and `at`, a step below 1, no recurrent state or no `init_key` before it.
    """

    def __init__(
        self,
        *,
        every: int | None = None,
        at: Sequence[int] = (),
        state_keys: Sequence[NestedKey] = (),
        step_key: str = "episode_step",
        init_key: str = "is_init",
    ) -> None:
        if (every is None) == (len(at) == 0):
            raise ValueError(f"give either every or at, got every={every} and at={tuple(at)}")
        if min(at, default=1) < 1 or (every is not None and every < 1):
            raise ValueError(f"steps must be at least 1, got every={every} and at={tuple(at)}")
        super().__init__(in_keys=[], out_keys=[])
        self.every, self.at = every, tuple(at)
        self.step_key, self.init_key = step_key, init_key
        self._given_keys = tuple(state_keys)

    def is_due(self, step: Tensor) -> Tensor:
        """Return at which of the steps since the episode's start (int64) the state is reset, bool of step's shape."""
        if self.every is not None:
            return (step % self.every == 0) & (step > 0)
        return torch.isin(step, torch.tensor(self.at, device=step.device))

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        step = tensordict.get(self.step_key) + 1
        due = self.is_due(step)
        for key, start in self._starts().items():
            state = next_tensordict.get(key, None)
            if state is not None:
                wide = due.reshape(*due.shape[:-1], *[1] * (state.ndim - due.ndim + 1))
                next_tensordict.set(key, torch.where(wide, start.to(state), state))
        next_tensordict.set(self.step_key, step)
        return next_tensordict.set(self.init_key, next_tensordict.get(self.init_key) | due)

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        self._check(tensordict_reset.keys(True, True))
        # Rows that are not reset keep their own count: EnvBase.reset discards what is written for them.
        start = torch.zeros_like(tensordict_reset.get(self.init_key), dtype=torch.int64)
        return tensordict_reset.set(self.step_key, start)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Add `step_key`; check that there is something to reset."""
        self._check(observation_spec.keys(True, True))
        observation_spec[self.step_key] = self._step_spec(observation_spec)
        return observation_spec

    def _check(self, present: Container[NestedKey]) -> None:
        if self.init_key not in present:
            raise ValueError(f"HiddenStateReset must come after InitTracker: there is no {self.init_key!r} before it")
        absent = [key for key in self._starts() if key not in present]
        if absent or not self._starts():
            raise ValueError(f"HiddenStateReset must come after the policy's primers: no recurrent state {absent}")

    def transform_input_spec(self, input_spec: Composite) -> Composite:
        """Add `step_key` to what a step reads."""
        if input_spec["full_state_spec"] is None:
            input_spec["full_state_spec"] = Composite(shape=input_spec.shape, device=input_spec.device)
        state_spec = input_spec["full_state_spec"]
        state_spec[self.step_key] = self._step_spec(state_spec)
        return input_spec

    @staticmethod
    def _step_spec(spec: Composite) -> TensorSpec:
        return Unbounded(shape=(*spec.shape, 1), dtype=torch.int64, device=spec.device)

    def _starts(self) -> dict[NestedKey, Tensor]:
        """Return the start value of every recurrent entry to reset."""
        starts = self.__dict__.get("_known_starts")
        if starts is None:
            primed = {key: value for primer in _primers(self.parent) for key, value in _start_values(primer).items()}
            keys = self._given_keys or tuple(primed)
            starts = self.__dict__["_known_starts"] = {key: primed.get(key, torch.zeros(())) for key in keys}
        return starts

    def set_container(self, container: Transform | EnvBase) -> None:
        """Forget what the primers of another environment said."""
        self.__dict__["_known_starts"] = None
        super().set_container(container)


def _primers(env: EnvBase | None) -> Iterator[TensorDictPrimer]:
    while isinstance(env, TransformedEnv):
        chain = env.transform.transforms if isinstance(env.transform, Compose) else [env.transform]
        yield from (transform for transform in chain if isinstance(transform, TensorDictPrimer))
        env = env.base_env


def _start_values(primer: TensorDictPrimer) -> dict[NestedKey, Tensor]:
    """Return what a primer writes at a reset; a random or computed start has no single value and is left out."""
    if primer.random or not isinstance(primer.default_value, dict):
        return {}
    return {key: torch.as_tensor(value) for key, value in primer.default_value.items() if not callable(value)}
