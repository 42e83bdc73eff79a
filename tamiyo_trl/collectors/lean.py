"""Equals TorchRL's `Collector` (tests/collectors/test_lean.py), at about half the CPU time on CartPole.

A shorter loop: the same batches without what nobody reads. Measured: benchmarks/results/recurrent_ppo.md.
"""

from __future__ import annotations

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import Tensor
from torchrl.collectors import Collector
from torchrl.envs import (
    Compose,
    EnvBase,
    InitTracker,
    ParallelEnv,
    RewardSum,
    TensorDictPrimer,
    Transform,
    TransformedEnv,
)
from torchrl.envs.utils import set_exploration_type

from tamiyo_trl import keys
from tamiyo_trl.collectors.steppers import Entries, stepper_of
from tamiyo_trl.policies.collection import Choice, CollectionPolicy
from tamiyo_trl.transforms import FloatRewardSum, Snapshot

CARRIER = "_carrier"  # TorchRL keeps the tensordict of the next step under this private name
FLAGS = (keys.DONE, keys.TERMINATED, keys.TRUNCATED)
BOOKKEEPING = (Snapshot, InitTracker, TensorDictPrimer, RewardSum, FloatRewardSum)


class LeanCollector(Collector):
    """TorchRL's collector, faster where the outermost transforms are bookkeeping: InitTracker, primers, RewardSum.

    There the loop steps the environment *below* them and keeps the books itself: an
    episode's first step, states that restart from zero, the sum of rewards. Not stored are a step's own `done`,
    `terminated` and `truncated` and `("next", "is_init")`, which are never set, and the sum of rewards before a step.
    What the environment shows is copied when it is seen, so that one which reuses its memory rewrites nothing.
    All other entries equal those of TorchRL's collector; log-probabilities and values, worked out for a whole batch at
    once, to rounding. In any other arrangement the loop is TorchRL's own.
    """

    def __init__(self, env: EnvBase, policy: CollectionPolicy, *, frames_per_batch: int, total_frames: int) -> None:
        super().__init__(
            env,
            policy,
            frames_per_batch=frames_per_batch,
            total_frames=total_frames,
            trust_policy=True,
            track_traj_ids=False,
            auto_register_policy_transforms=False,
        )
        self._inner, self._state_keys = below(env)
        self._stepper = None if self._inner is None else stepper_of(self._inner)
        self._policy = policy

    def rollout(self) -> TensorDictBase:
        """Return the next batch [*, T].

        Raises:
            IllegalActionError: at some step a mask forbade everything; the message names environment and step.
        """
        inner, stepper, policy = self._inner, self._stepper, self._policy
        policy.networks.check_precision()
        if inner is None or stepper is None:
            batch: TensorDictBase = super().rollout()
            return batch
        carrier: TensorDictBase = self.__dict__[CARRIER]
        shown = dict(carrier.items())
        books = {key: shown.pop(key) for key in (keys.IS_INIT, *self._state_keys)}
        total = shown.pop(keys.EPISODE_REWARD)
        steps: list[tuple[Entries, Entries]] = []
        choices: list[Choice] = []
        with torch.no_grad(), set_exploration_type(self.exploration_type):
            for _ in range(self.frames_per_batch):
                seen = {**shown, **books}
                written, choice = policy.choose(seen)
                choices.append(choice)
                following = {key: written.pop(("next", key)) for key in self._state_keys}
                after, ahead = stepper.step(shown, written[keys.ACTION])
                total = total + after[keys.REWARD]
                after[keys.EPISODE_REWARD] = total
                steps.append(({**seen, **written}, after))
                shown, over = ahead, after[keys.DONE]
                if over.any():
                    following = {key: _restart(over, state) for key, state in following.items()}
                    total = total.masked_fill(over, 0.0)
                books = {keys.IS_INIT: over, **following}
        self.__dict__[CARRIER] = TensorDict(
            {**shown, **books, keys.EPISODE_REWARD: total}, inner.batch_size, carrier.device
        )
        return self._judged(stack(steps, inner), choices)

    def _judged(self, batch: TensorDictBase, choices: list[Choice]) -> TensorDictBase:
        """Return `batch` [*B, T] with log-probabilities and values, worked out for all its steps at once."""
        dim = batch.ndim - 1
        together = Choice(*(torch.stack(parts, dim) for parts in zip(*choices)))
        interface = self._policy.networks.interface
        mask = None if interface.mask_key is None else batch[interface.mask_key]
        if mask is not None:
            interface.check_playable(mask, batch.shape[-1:])
        with torch.no_grad():
            found = self._policy.judge(together, mask)
        for key, value in found.items():
            batch.set(key, value)
        return batch


def below(env: EnvBase) -> tuple[EnvBase | None, tuple[NestedKey, ...]]:
    """Return the environment below the outermost bookkeeping and the states this carries.

    None where the bookkeeping is not complete, not plain or not outermost, or the environment not of the usual form.
    """
    found: list[Transform] = []
    while isinstance(env, TransformedEnv):
        layer = list(env.transform) if isinstance(env.transform, Compose) else [env.transform]
        if not all(type(transform) in BOOKKEEPING for transform in layer):
            break
        found, env = layer + found, env.base_env
    primers = [transform for transform in found if isinstance(transform, TensorDictPrimer)]
    sums = sum(isinstance(transform, RewardSum) for transform in found)
    trackers = sum(isinstance(transform, InitTracker) for transform in found)
    if (sums, trackers) != (1, 1) or not all(map(_is_plain, found)):
        return None, ()
    if isinstance(_innermost(env), ParallelEnv):  # not proven equal across processes
        return None, ()
    usual = set(env.done_keys) <= set(FLAGS) and list(env.reward_keys) == [keys.REWARD] and env.batch_locked
    compiled = "_compiled_step_and_maybe_reset" in env.__dict__
    if not usual or compiled or env.__dict__.get("_torchrl_native_autoreset", False):
        return None, ()
    return env, tuple(key for primer in primers for key in primer.primers.keys(True, True))


def _path(key: NestedKey) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key


def _innermost(env: EnvBase) -> EnvBase:
    while isinstance(env, TransformedEnv):
        env = env.base_env
    return env


def _is_plain(transform: Transform) -> bool:
    """Return whether a transform does only what its defaults do under the usual names."""
    if isinstance(transform, TensorDictPrimer):
        zeros = isinstance(transform.default_value, dict) and all(v == 0 for v in transform.default_value.values())
        flat = all(isinstance(key, str) for key in transform.primers.keys(True, True))
        return zeros and flat and not transform.random and not transform.call_before_env_reset
    if isinstance(transform, Snapshot):  # the loop copies everything itself
        return True
    if isinstance(transform, InitTracker):
        return list(transform.init_keys) == [keys.IS_INIT]
    return list(transform.in_keys) == [keys.REWARD] and list(transform.out_keys) == [keys.EPISODE_REWARD]


def _restart(over: Tensor, state: Tensor) -> Tensor:
    """Return `state` [*B, ...] with zeros where `over` [*B, 1] is set."""
    return state.masked_fill(over.reshape(*over.shape[:-1], *[1] * (state.ndim - over.ndim + 1)), 0.0)


def stack(steps: list[tuple[Entries, Entries]], env: EnvBase) -> TensorDictBase:
    """Return `steps` of `env`, each what was seen and done and what it left, side by side as one batch [*B, T].

    Entry by entry; the flags that are never set are left out.
    """
    dim = len(env.batch_size)
    size = [*env.batch_size, len(steps)]
    root, following = ({key: [step[i][key] for step in steps] for key in steps[0][i]} for i in range(2))
    batch = TensorDict({}, size, device=env.device, names=[*[None] * dim, "time"])
    for key, entries in root.items():
        if key not in FLAGS:
            batch.set(key, torch.stack(entries, dim))
    for key, entries in following.items():
        batch.set(("next", *_path(key)), torch.stack(entries, dim))
    return batch
