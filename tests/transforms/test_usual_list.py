"""Every transform in every place a TorchRL user may put it: single, batched, serial, parallel, inside and outside."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torchrl.envs import (
    Compose,
    EnvBase,
    InitTracker,
    ParallelEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    Transform,
    TransformedEnv,
    check_env_specs,
)

from tamiyo_trl.envs.recall import RecallEnv
from tamiyo_trl.policies import ActorCritic, make_actor_critic
from tamiyo_trl.transforms import FlatAction, FrameStack, HiddenStateReset, PreviousAction, joint_actions
from tests.policies.zoo import Kind, ZooEnv

KIND = Kind((), "multi", "joint", (2, 3))


def policy_for(env: EnvBase) -> ActorCritic:
    return make_actor_critic(env, "gru", hidden_size=4, encoder_size=4)


def flat(env: EnvBase) -> list[Transform]:
    return [FlatAction(joint_actions((2, 3)))]


def previous(env: EnvBase) -> list[Transform]:
    return [PreviousAction()]


def stack(env: EnvBase) -> list[Transform]:
    return [FrameStack(3, dim=-1, in_keys=["observation"], out_keys=["frames"])]


def forget(env: EnvBase) -> list[Transform]:
    return [InitTracker(), *policy_for(env).memory.transforms(), HiddenStateReset(every=2)]


TRANSFORMS: list[Callable[[EnvBase], list[Transform]]] = [flat, previous, stack, forget]


def make(transforms: Callable[[EnvBase], list[Transform]], batch: tuple[int, ...], seed: int = 0) -> TransformedEnv:
    env = ZooEnv(Kind(batch, KIND.action, KIND.mask, KIND.nvec), seed)
    return TransformedEnv(env, Compose(*transforms(env)))


@pytest.mark.parametrize("transforms", TRANSFORMS)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_specs_hold_and_rollouts_run(transforms: Callable[[EnvBase], list[Transform]], batch: tuple[int, ...]) -> None:
    env = make(transforms, batch)
    check_env_specs(env)
    assert env.rollout(12, break_when_any_done=False).batch_size == (*batch, 12)
    assert env.rollout(12, break_when_any_done=True).batch_size[: len(batch)] == batch


@pytest.mark.parametrize("transforms", [flat, previous, stack])
def test_a_transform_works_without_a_compose_and_appended(transforms: Callable[[EnvBase], list[Transform]]) -> None:
    env = ZooEnv(Kind((3,), KIND.action, KIND.mask, KIND.nvec))
    check_env_specs(TransformedEnv(env, transforms(env)[0]))
    appended = TransformedEnv(ZooEnv(Kind((3,), KIND.action, KIND.mask, KIND.nvec)), InitTracker())
    appended.append_transform(transforms(env)[0])
    check_env_specs(appended)
    nested = TransformedEnv(make(transforms, (3,)), Compose(RewardSum(), StepCounter()), auto_unwrap=False)
    check_env_specs(nested)


def test_all_transforms_together_on_a_real_environment() -> None:
    env = RecallEnv(n_envs=4)
    rows = joint_actions((2, 3, 3))
    both = Compose(PreviousAction(), FlatAction(rows))
    seen = TransformedEnv(env, both.clone())
    actor_critic = policy_for(seen)
    whole = TransformedEnv(env, Compose(both, *actor_critic.transforms(), HiddenStateReset(every=3), StepCounter()))
    check_env_specs(whole)
    batch = whole.rollout(25, actor_critic.collection_policy(), break_when_any_done=False)
    actor_critic.check_batch(batch)
    assert batch["observation"].shape == (4, 25, 8 + 2 + 3 + 3 + 1)
    assert batch["action_mask"].shape == (4, 25, 18)


@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_inside_and_outside_of_a_serial_batch_agree(transforms: Callable[[EnvBase], list[Transform]]) -> None:
    def act(tensordict: torch.Tensor) -> torch.Tensor:
        mask = tensordict["action_mask"].flatten(1)
        index = mask.int().argmax(-1)
        native = tensordict["action_mask"].ndim == 3
        return tensordict.set("action", torch.stack([index // 3, index % 3], -1) if native else index)

    inside = SerialEnv(2, [partial(make, transforms, (), seed) for seed in (0, 1)])
    plain = SerialEnv(2, [partial(ZooEnv, KIND, seed) for seed in (0, 1)])
    outside = TransformedEnv(plain, Compose(*transforms(plain)))
    for break_when_any_done in (True, False):
        batches = [env.rollout(15, act, break_when_any_done=break_when_any_done) for env in (inside, outside)]
        for key in ("action", "action_mask", "observation", "frames", "episode_step", "is_init"):
            if key in batches[0].keys():
                assert torch.equal(batches[0][key], batches[1][key]), key
        inside.reset()
        outside.reset()


def make_everything(seed: int) -> TransformedEnv:
    env = ZooEnv(KIND, seed)
    rows = joint_actions((2, 3))
    return TransformedEnv(env, Compose(PreviousAction(), FlatAction(rows), *forget(env), RewardSum()))


@pytest.mark.slow
def test_all_transforms_inside_the_workers_of_a_parallel_batch() -> None:
    workers = [partial(make_everything, seed) for seed in (0, 1)]
    serial = SerialEnv(2, workers)
    actor_critic = policy_for(serial)
    expected = serial.rollout(20, actor_critic.collection_policy(), break_when_any_done=False, auto_reset=True)
    parallel = ParallelEnv(2, workers)
    try:
        batch = parallel.rollout(20, actor_critic.collection_policy(), break_when_any_done=False)
    finally:
        parallel.close()
    assert batch.batch_size == expected.batch_size == (2, 20)
    due = (batch["episode_step"] % 2 == 0) & (batch["episode_step"] > 0)
    assert torch.equal(batch["is_init"], due | (batch["episode_step"] == 0))
    assert (batch["recurrent_state"][batch["is_init"].squeeze(-1)] == 0).all()
    assert batch["recurrent_state"][~batch["is_init"].squeeze(-1)].any()
    actor_critic.check_batch(batch)


def test_the_folder_cannot_be_imported_under_its_own_name() -> None:
    with pytest.raises(ImportError, match=r"tamiyo_trl\.transforms"):
        importlib.import_module("transforms")
