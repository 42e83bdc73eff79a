"""Hosts shared out over processes play the same episodes."""

from __future__ import annotations

import torch

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthConfig, TrainingConfig, make_growth_env
from tamiyo_trl.policies.baselines import RandomLegal


def test_two_processes_give_the_numbers_of_one():
    config = GrowthConfig(image_size=8, training=TrainingConfig(images_per_step=64))
    seen = []
    for processes in (1, 2):
        env, policy, rows = make_growth_env(config, 4, seed=3, processes=processes), RandomLegal(0), []
        state = env.reset()
        for _ in range(4):
            state = env.step(policy(state))["next"]
            rows.append(torch.cat([state[keys.OBSERVATION].flatten(0, -2), state[keys.REWARD].flatten(0, -2)], -1))
        env.close(raise_if_closed=False)
        seen.append(torch.stack(rows))
    assert seen[0].shape == seen[1].shape
    torch.testing.assert_close(*seen)
