"""Rewards telescope, parts sum up, and the contribution reward is the documented formula."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.envs.growth.readings import History, Readings
from tamiyo_trl.envs.growth.rewards import Outcome, RewardConfig, contribution, pay, stage_potential
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op

pytestmark = pytest.mark.slow


def readings(accuracy: float, added: float = 0.0, **more) -> Readings:
    """Readings of one host with one site."""
    value = Readings.blank(1, 1)
    value.val_accuracy[:], value.added_parameters[:] = accuracy, added
    for name, item in more.items():
        getattr(value, name)[:] = item
    return value


def outcome(before: Readings, now: Readings, *, ended: bool = False, germinated_at: float = 0.0) -> Outcome:
    history = History.blank(1, 1, 1)
    history.germination_accuracy[:] = germinated_at
    return Outcome(
        before, now, now.val_accuracy, history, torch.tensor([ended]), torch.tensor([False]), host_parameters=1000
    )


@settings(max_examples=6)
@given(st.integers(0, 10_000))
def test_gain_telescopes_over_random_episodes_of_real_training(tiny, seed):
    """Its sum is scale (final committed accuracy - initial accuracy - rent of the final growth), whatever happened."""
    env = GrowthEnv(tiny, n_envs=3, seed=seed)
    rollout = env.rollout(tiny.episode_steps)
    info, rewards = rollout["next", "info"], tiny.rewards
    initial = rollout["info", "val_accuracy"][:, 0]
    growth = (info["added_parameters"][:, -1] / env.world.fleet.host_parameters).log1p()
    expected = rewards.scale * (info["paid_accuracy"][:, -1] - initial - rewards.rent * growth)
    torch.testing.assert_close(rollout["next", "reward"].sum(1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("reward", ["gain", "sparse", "contribution"])
def test_the_last_step_is_paid_by_the_committed_network_on_the_reward_split(tiny, reward):
    config = dataclasses.replace(tiny, reward=reward)
    env = GrowthEnv(config, n_envs=3, seed=7)
    last = env.rollout(config.episode_steps)["next"][:, -1]
    fleet, episodes = env.world.fleet, env.world.episodes
    sets = [
        episodes.task.draw(derive_seed(seed, "images"), config.splits, episodes.deficit(host).corruption)
        for host, seed in enumerate(episodes.seed.tolist())
    ]
    images = torch.stack([drawn.reward_images for drawn in sets])
    labels = torch.stack([drawn.reward_labels for drawn in sets])
    measured = fleet.evaluate(images, labels, torch.full((3,), -1)).accuracy
    assert torch.equal(last["info", "paid_accuracy"].squeeze(-1), measured.float())
    parts = last["reward_parts"]
    if reward == "contribution":
        expected = 5.0 * measured
        assert torch.allclose(parts["terminal"].squeeze(-1), expected)
    else:
        since = env._before.val_accuracy if reward == "gain" else env.world.history.initial_accuracy
        assert torch.allclose(parts["accuracy"].squeeze(-1), 10.0 * (measured - since), atol=1e-6)
    assert not torch.equal(measured, env.world.readings.val_accuracy)  # the split that is shown says something else


def test_the_reward_split_is_neither_shown_nor_reported(tiny):
    """Other reward images change the last reward and nothing else."""
    few, many = (
        GrowthEnv(dataclasses.replace(tiny, splits=dataclasses.replace(tiny.splits, reward=count)), n_envs=3, seed=8)
        for count in (16, 96)
    )
    ours, theirs = (env.rollout(tiny.episode_steps)["next"] for env in (few, many))
    assert torch.equal(ours["observation"], theirs["observation"])
    assert torch.equal(ours["info", "final_accuracy"], theirs["info", "final_accuracy"])
    assert torch.equal(ours["info", "val_accuracy"], theirs["info", "val_accuracy"])
    assert torch.equal(ours["reward"][:, :-1], theirs["reward"][:, :-1])
    assert not torch.equal(ours["reward"][:, -1], theirs["reward"][:, -1])


def test_without_a_reward_split_the_validation_images_pay_to_the_end(tiny):
    config = dataclasses.replace(tiny, splits=dataclasses.replace(tiny.splits, reward=0))
    info = GrowthEnv(config, n_envs=3, seed=9).rollout(tiny.episode_steps)["next", "info"]
    assert torch.equal(info["paid_accuracy"], info["val_accuracy"])


def test_sparse_pays_the_same_sum_at_the_end_only(tiny):
    dense, sparse = (
        GrowthEnv(dataclasses.replace(tiny, reward=name), n_envs=3, seed=5).rollout(tiny.episode_steps)
        for name in ("gain", "sparse")
    )
    torch.testing.assert_close(dense["next", "reward"].sum(1), sparse["next", "reward"].sum(1), atol=1e-5, rtol=1e-5)
    assert (sparse["next", "reward"][:, :-1] == 0).all()


def test_gain_by_hand():
    parts = pay("gain", outcome(readings(0.50), readings(0.52, added=1000.0)), RewardConfig(scale=10.0, rent=0.01))
    assert parts["accuracy"].item() == pytest.approx(0.2)  # 10 * (0.52 - 0.50)
    assert parts["rent"].item() == pytest.approx(-0.1 * math.log(2))  # 10 * 0.01 * log(1 + 1000/1000)


def test_contribution_by_hand():
    # A blending seed, contribution 4 points, accuracy 3 points above germination: attribution is capped by progress.
    stage = int(Stage.BLENDING)
    before = readings(0.50, added=1000, stage=int(Stage.TRAINING), in_stage=2)
    now = readings(0.53, added=1000, stage=stage, in_stage=1, alpha=0.5, contribution=0.04, has_contribution=True)
    parts = contribution(outcome(before, now, germinated_at=0.50), RewardConfig(gamma=0.99))
    assert parts["attribution"].item() == pytest.approx(3 * 3.0, rel=1e-4)  # 3 * min(3, 4)
    # phi: TRAINING 2 + .3*2 = 2.6 before; BLENDING 3.5 + .3*1 = 3.8 now; .3 (.99 * 3.8 - 2.6)
    assert parts["shaping"].item() == pytest.approx(0.3 * (0.99 * 3.8 - 2.6), rel=1e-5)
    assert parts["rent"].item() == pytest.approx(-0.5 * math.log(2))
    assert parts["action"].item() == 0
    assert parts["terminal"].item() == 0


@pytest.mark.parametrize(
    ("op", "points", "expected"),
    [
        (Op.GERMINATE, 0.0, -0.02),
        (Op.FOSSILIZE, 2.0, 0.5 + 0.2 - 0.01),
        (Op.FOSSILIZE, -1.0, -0.2 - 0.01),
        (Op.CULL, -1.0, 0.3 - 0.005),
        (Op.CULL, -0.2, 0.1 - 0.005),
        (Op.CULL, 2.0, -0.3 - 0.1 - 0.005),
    ],
)
def test_contribution_pays_each_op_by_what_was_known_when_it_acted(op, points, expected):
    before = readings(0.5, contribution=points / 100, has_contribution=True)
    parts = contribution(outcome(before, readings(0.5, op=int(op))), RewardConfig())
    assert parts["action"].item() == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.sampled_from([0, 1, 2, 3, 4]), min_size=2, max_size=12))
def test_shaping_telescopes_so_that_cycles_pay_nothing(stages):
    config, gamma = RewardConfig(gamma=0.99), 0.99
    path = [readings(0.5, stage=stage, in_stage=place % 3) for place, stage in enumerate(stages)]
    total = 0.0
    for step, (before, now) in enumerate(zip(path[:-1], path[1:], strict=True)):
        ended = step == len(path) - 2
        total += gamma**step * contribution(outcome(before, now, ended=ended), config)["shaping"].item()
    assert total == pytest.approx(-0.3 * stage_potential(path[0]).item(), abs=1e-4)


def test_a_diverged_host_pays_its_penalty_and_nothing_else():
    broken = dataclasses.replace(outcome(readings(0.5), readings(float("nan"), added=10)), fault=torch.tensor([True]))
    for name in ("gain", "sparse", "contribution"):
        parts = pay(name, broken, RewardConfig(fault_penalty=5.0))
        assert sum(part.item() for part in parts.values()) == -5.0


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"rent": -1.0}, {"fault_penalty": -1.0}])
def test_impossible_prices_are_refused(wrong):
    with pytest.raises(ConfigError):
        RewardConfig(**wrong)
