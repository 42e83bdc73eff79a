"""Hosts shared out over processes play the same episodes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torchrl.collectors import Collector, MultiSyncCollector

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig, growth_env_makers, make_growth_env
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.policies.baselines import Heuristic, RandomLegal

pytestmark = pytest.mark.slow

SMALL = GrowthConfig(image_size=8, training=HostTrainingConfig(images_per_step=64))


def test_two_processes_give_the_numbers_of_one():
    seen = []
    for processes in (1, 2):
        env, policy, rows = make_growth_env(SMALL, 4, seed=3, processes=processes), RandomLegal(0), []
        state = env.reset()
        for _ in range(4):
            state = env.step(policy(state))["next"]
            rows.append(torch.cat([state[keys.OBSERVATION].flatten(0, -2), state[keys.REWARD].flatten(0, -2)], -1))
        env.close(raise_if_closed=False)
        seen.append(torch.stack(rows))
    assert seen[0].shape == seen[1].shape
    torch.testing.assert_close(*seen)


def test_a_collector_of_two_processes_gives_the_numbers_of_one():
    """The heuristic decides by what it sees alone, so every env must live the same life in both."""
    config = replace(SMALL, observation="snapshot")
    policy, frames = partial(Heuristic, config), 4 * config.episode_steps
    one = Collector(GrowthEnv(config, 4, seed=3), policy(), frames_per_batch=frames, total_frames=frames)
    two = MultiSyncCollector(
        growth_env_makers(config, 4, seed=3, processes=2),
        policy_factory=policy,
        frames_per_batch=frames,
        total_frames=frames,
        cat_results=0,
    )
    batches = []
    for collector in (one, two):
        batches.append(next(iter(collector)))
        collector.shutdown()
    assert batches[0][keys.ACTION].unique().numel() > 1, "a life without decisions shows nothing"
    for key in (keys.OBSERVATION, keys.ACTION, ("next", keys.REWARD)):
        torch.testing.assert_close(batches[0][key], batches[1][key])


def test_envs_that_cannot_be_shared_out_are_refused():
    with pytest.raises(ConfigError, match="3 is not of 2"):
        growth_env_makers(SMALL, 3, seed=0, processes=2)
