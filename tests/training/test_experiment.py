"""A run's settings decide its controller."""

from __future__ import annotations

import dataclasses

import pytest

from tamiyo_trl import keys
from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.training.experiment import RunConfig, make_controller

WORLD = GrowthConfig(image_size=8, episode_steps=10, splits=SplitSizes(train=64, val=32, test=32, reward=32))


@pytest.mark.parametrize("shows", [False, True])
def test_the_critic_alone_reads_the_hidden_facts_and_only_where_the_world_shows_them(shows):
    run = RunConfig(env=dataclasses.replace(WORLD, privileged=shows), hidden_size=8, encoder_size=8)
    controller = make_controller(run, GrowthEnv(run.env, 2, seed=0))
    assert (keys.PRIVILEGED in controller.critic.in_keys) == shows
    assert keys.PRIVILEGED not in controller.policy.in_keys
