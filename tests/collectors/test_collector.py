from __future__ import annotations

import copy

import pytest
import torch
from torchrl.envs import Compose, InitTracker, RewardSum, SerialEnv, StepCounter, TransformedEnv

from tamiyo_trl.collectors.carry import CARRIER, collector_state, load_collector_state
from tamiyo_trl.envs.recall import RecallEnv
from tamiyo_trl.errors import CheckpointError, ConfigError
from tamiyo_trl.policies import make_actor_critic
from tamiyo_trl.training import make_collector, with_transforms
from tests.training.helpers import parts

MEMORIES = ["lstm", "gru", "mlp", "frames"]


def transforms(env) -> list[str]:
    found = []
    while isinstance(env, TransformedEnv):
        inner = env.transform
        found = [type(t).__name__ for t in (inner if isinstance(inner, Compose) else [inner])] + found
        env = env.base_env
    return found


@pytest.mark.parametrize("memory", MEMORIES)
def test_only_missing_transforms_are_added_whatever_the_environment_has(memory):
    env, actor_critic, _ = parts(memory)
    wanted = [type(t).__name__ for t in actor_critic.transforms()]
    assert transforms(with_transforms(env, actor_critic)) == wanted
    for own in (InitTracker(), RewardSum(), StepCounter()):
        wrapped = with_transforms(TransformedEnv(env, own), actor_critic)
        ours = [name for name in wanted if name != "FloatRewardSum" or not isinstance(own, RewardSum)]
        assert sorted(transforms(wrapped)) == sorted({*ours, type(own).__name__})
    complete = TransformedEnv(env, actor_critic.transforms())
    assert with_transforms(complete, actor_critic) is complete


@pytest.mark.parametrize("memory", MEMORIES)
def test_batches_hold_what_the_update_reads_and_nothing_of_the_networks_inside(memory):
    env, actor_critic, _ = parts(memory)
    for batch in make_collector(env, actor_critic, 40, 80):
        assert batch.shape == (4, 10)
        assert set(actor_critic.training_keys) <= set(batch.keys())
        assert not {"encoded", "core", "logits"} & set(batch.keys())
        following = {actor_critic.observation_key, "reward", "done", "terminated", "truncated", "episode_reward"}
        assert actor_critic.observation_key in batch["next"].keys()
        if memory != "frames":  # CatFrames is no bookkeeping: that loop is TorchRL's own
            read = {*following, "action_mask", "is_init"}
            assert set(batch["next"].keys()) <= read


def test_the_policy_s_own_keys_are_left_as_they_are():
    env, actor_critic, _ = parts()
    before = list(actor_critic.policy.out_keys)
    make_collector(env, actor_critic, 40, 40)
    assert list(actor_critic.policy.out_keys) == before


def test_hidden_states_cross_batch_borders():
    env, actor_critic, _ = parts()
    first, second = make_collector(env, actor_critic, 8, 16)
    for key in actor_critic.state_keys:
        carried = actor_critic.critic(first[:, -1].select(*actor_critic.critic.in_keys))["next", key].detach()
        starts = second["is_init"][:, 0].reshape(-1, 1, 1)
        assert torch.equal(second[key][:, 0], torch.where(starts, 0, carried))
        assert carried.abs().max() > 0


@pytest.mark.parametrize(
    ("batch", "total", "message"), [(41, 82, "is not of 4"), (40, 100, "is not of 40"), (0, 40, "at least 1")]
)
def test_batches_that_do_not_fit_are_refused(batch, total, message):
    env, actor_critic, _ = parts()
    with pytest.raises(ConfigError, match=message):
        make_collector(env, actor_critic, batch, total)


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_restored_collector_yields_the_very_next_batch(memory):
    env, actor_critic, _ = parts(memory)
    collector = make_collector(env, actor_critic, 28, 28 * 3)
    batches = iter(collector)
    next(batches)
    saved, generator = copy.deepcopy(collector_state(collector)), torch.get_rng_state()
    expected = next(batches)
    other, _, _ = parts(memory, seed=5)
    restored = make_collector(other, actor_critic, 28, 28 * 3)
    load_collector_state(restored, saved)
    torch.set_rng_state(generator)
    found = next(iter(restored))
    assert (found == expected).all()
    assert not found["is_init"][:, 0].all()  # it went on in mid-episode


def test_several_environments_in_series_are_restored_too():
    def make(seed: int) -> SerialEnv:
        return SerialEnv(2, [lambda: RecallEnv(n_envs=3, seed=seed), lambda: RecallEnv(n_envs=3, seed=seed + 1)])

    actor_critic = make_actor_critic(make(0), hidden_size=8, encoder_size=8)
    collector = make_collector(make(0), actor_critic, 42, 84)
    batches = iter(collector)
    next(batches)
    saved, generator = copy.deepcopy(collector_state(collector)), torch.get_rng_state()
    expected = next(batches)
    restored = make_collector(make(50), actor_critic, 42, 84)
    load_collector_state(restored, saved)
    torch.set_rng_state(generator)
    assert (next(iter(restored)) == expected).all()


class Forgetful(RecallEnv):
    """An environment without a state to save."""

    def state_dict(self, *args: object, **kwargs: object) -> dict:
        return {}


def test_an_environment_without_a_state_begins_new_episodes():
    _, actor_critic, _ = parts()
    collector = make_collector(Forgetful(n_envs=4), actor_critic, 28, 84)
    next(iter(collector))
    restored = make_collector(Forgetful(n_envs=4), actor_critic, 28, 84)
    load_collector_state(restored, collector_state(collector))
    batch = next(iter(restored))
    assert batch["is_init"][:, 0].all()
    assert batch["recurrent_state_h"][:, 0].abs().max() == 0


def test_another_environment_is_refused():
    env, actor_critic, _ = parts()
    saved = collector_state(make_collector(env, actor_critic, 40, 40))
    bigger, policy, _ = parts(envs=5)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_collector_state(make_collector(bigger, policy, 40, 40), saved)


def test_a_torchrl_that_hides_the_carry_elsewhere_is_a_clear_error():
    env, actor_critic, _ = parts()
    collector = make_collector(env, actor_critic, 40, 40)
    setattr(collector, CARRIER, None)
    with pytest.raises(CheckpointError, match="no _carrier"):
        collector_state(collector)
