"""The entry `privileged` tells what is hidden, exactly, and changes nothing else."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeds.lifecycle import Op


@pytest.fixture(scope="module")
def open_world(tiny) -> GrowthConfig:
    return dataclasses.replace(tiny, privileged=True)


def shown(env: GrowthEnv, tensordict: TensorDict, host: int = 0) -> dict[str, float]:
    """The privileged columns of one host, by name."""
    names = env.config.privileged_names
    return dict(zip(names, tensordict[keys.PRIVILEGED][host].tolist(), strict=True))


def step(env: GrowthEnv, *action: int) -> TensorDict:
    return env.step(TensorDict({keys.ACTION: torch.tensor([action])}, batch_size=[1]))["next"]


def test_specs_hold_with_the_privileged_entry(open_world):
    check_env_specs(GrowthEnv(open_world, n_envs=3, seed=1))


def test_without_it_nothing_privileged_is_shown_and_with_it_all_else_is_the_same(tiny, open_world):
    closed, opened = (
        GrowthEnv(config, n_envs=3, seed=2).rollout(14, break_when_any_done=False) for config in (tiny, open_world)
    )
    for entries in (closed, closed["next"]):
        assert keys.PRIVILEGED not in entries
    for entries in (opened, opened["next"]):
        assert keys.PRIVILEGED in entries
    less = opened.exclude(keys.PRIVILEGED, ("next", keys.PRIVILEGED))
    assert (less == closed).all()
    with pytest.raises(ConfigError, match="privileged=True"):
        assert tiny.privileged_names


def test_it_names_the_deficit_of_each_host_of_the_family(open_world):
    env = GrowthEnv(open_world, n_envs=8, seed=3)
    tensordict = env.reset()
    family = env.world.episodes.family
    for host in range(8):
        columns = shown(env, tensordict, host)
        told = [deficit.name for deficit in family.deficits if columns[f"deficit {deficit.name}"] == 1.0]
        assert told == [env.world.episodes.deficit(host).name]
    alone = dataclasses.replace(open_world, family="mixed:slow")
    assert [name for name in alone.privileged_names if name.startswith("deficit")] == ["deficit slow"]


def test_it_tells_what_stands_where_and_its_quality_until_it_is_culled(open_world):
    env = GrowthEnv(open_world, n_envs=1, seed=4)
    env.reset()
    wide, norm = open_world.blueprints.index("wide"), open_world.blueprints.index("norm")
    after = step(env, Op.GERMINATE, 1, wide)
    quality = env.world.episodes.family.seed_quality(int(after["info", "episode_seed"]), 0)
    columns = shown(env, after)
    assert columns["dead share at 1"] == pytest.approx(quality.dead_share)
    assert columns["seed rate at 1"] == pytest.approx(math.log(quality.lr_scale), rel=1e-5)
    assert columns["blueprint at 1 wide"] == columns["stage at 1 TRAINING"] == 1.0
    assert columns["age at 1"] == pytest.approx(1 / open_world.episode_steps)
    assert columns["germinations"] == pytest.approx(1 / 5)
    assert columns["stage at 0 DORMANT"] == columns["stage at 2 DORMANT"] == 1.0
    assert sum(columns[f"blueprint at {site} {name}"] for site in range(3) for name in open_world.blueprints) == 1.0
    assert columns["exact contribution"] == pytest.approx(float(env.world.readings.contribution))
    step(env, Op.WAIT, 0, 0)
    columns = shown(env, step(env, Op.CULL, 1, 0))
    assert columns["stage at 1 DORMANT"] == 1.0  # its embargo of one step is over
    assert columns["dead share at 1"] == columns["seed rate at 1"] == columns["blueprint at 1 wide"] == 0.0
    # The second seed has a quality of its own, at whatever site.
    second = env.world.episodes.family.seed_quality(int(after["info", "episode_seed"]), 1)
    columns = shown(env, step(env, Op.GERMINATE, 0, norm))
    assert columns["seed rate at 0"] == pytest.approx(math.log(second.lr_scale), rel=1e-5)
    assert columns["germinations"] == pytest.approx(2 / 5)


def test_a_loaded_world_goes_on_telling_the_same(open_world):
    env = GrowthEnv(open_world, n_envs=3, seed=5)
    env.rollout(6, break_when_any_done=False)
    copy = GrowthEnv(open_world, n_envs=3, seed=99)
    copy.load_state_dict(env.state_dict())
    action = env.rand_action()
    ours, theirs = (world.step(action.clone())["next", keys.PRIVILEGED] for world in (env, copy))
    assert torch.equal(ours, theirs)


def test_a_new_episode_forgets_the_qualities_of_the_last(open_world):
    env = GrowthEnv(open_world, n_envs=1, seed=6)
    env.reset()
    step(env, Op.GERMINATE, 0, 0)
    columns = shown(env, env.reset())
    assert all(columns[f"seed rate at {site}"] == columns[f"dead share at {site}"] == 0.0 for site in range(3))
