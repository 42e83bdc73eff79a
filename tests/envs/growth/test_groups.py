"""Envs of a group play the same hosts: what they see differs by their actions alone."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from tamiyo_trl.envs import GrowthEnv, growth_env_makers
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeds.lifecycle import Op


def step(env: GrowthEnv, actions: list[tuple[int, int, int]]) -> TensorDict:
    return env.step(TensorDict({"action": torch.tensor(actions)}, batch_size=[env.n_envs]))["next"]


def test_envs_of_a_group_are_the_same_host_until_their_actions_differ(tiny):
    env = GrowthEnv(tiny, n_envs=4, seed=3, group_size=2)
    first = env.reset()["observation"].clone()
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[2], first[3])
    assert not torch.equal(first[0], first[2])
    wide = tiny.blueprints.index("wide")
    wait, plant = (0, 0, 0), (int(Op.GERMINATE), 0, wide)
    seen = step(env, [wait, wait, plant, plant])["observation"]
    assert torch.equal(seen[2], seen[3])  # the same quality, the same initial weights
    step(env, [wait, plant, wait, wait])
    for _ in range(4):
        last = step(env, [wait] * 4)
    seen, seeds = last["observation"], last["info", "episode_seed"].flatten().tolist()
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def test_the_next_episode_is_shared_too_and_is_that_of_an_ungrouped_env(tiny):
    grouped, plain = GrowthEnv(tiny, n_envs=4, seed=3, group_size=2), GrowthEnv(tiny, n_envs=2, seed=3)
    seeds = []
    for env in (grouped, plain):
        env.reset()
        seeds.append(env.reset()["info", "episode_seed"].flatten().tolist())
    assert seeds[0] == [seeds[1][0]] * 2 + [seeds[1][1]] * 2


def test_processes_share_out_whole_groups(tiny):
    seeds = []
    for make in growth_env_makers(tiny, 8, seed=3, processes=2, group_size=2):
        seeds += make().reset()["info", "episode_seed"].flatten().tolist()
    together = GrowthEnv(tiny, n_envs=8, seed=3, group_size=2).reset()["info", "episode_seed"].flatten().tolist()
    assert seeds == together
    assert len(set(seeds)) == 4


def test_groups_that_do_not_fit_are_refused(tiny):
    with pytest.raises(ConfigError, match="3 does not divide 4"):
        GrowthEnv(tiny, n_envs=4, group_size=3)
    with pytest.raises(ConfigError, match="3 envs a process are not of groups of 2"):
        growth_env_makers(tiny, 6, seed=0, processes=2, group_size=2)
