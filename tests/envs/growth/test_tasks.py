"""GrowthEnv trains its hosts on every task."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tamiyo_trl.data import DataSource, SplitSizes
from tamiyo_trl.data.tasks import TASKS
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.errors import ConfigError, DataError
from tests.data.archives import expect_archive, unpack

pytestmark = pytest.mark.slow


def rolled(config: GrowthConfig, seed: int = 4) -> torch.Tensor:
    """Return the final accuracies of two hosts under random legal actions."""
    steps = GrowthEnv(config, n_envs=2, seed=seed).rollout(config.episode_steps)
    assert torch.isfinite(steps["observation"]).all()
    return steps["next", "info", "final_accuracy"][:, -1]


@pytest.mark.parametrize("task", ["templates", "fresh-templates"])
def test_hosts_train_on_templates(tiny, task):
    config = dataclasses.replace(tiny, task=task)
    first, second, other = (rolled(config, seed) for seed in (4, 4, 5))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_hosts_train_on_cifar10_from_disk(tiny, monkeypatch, tmp_path):
    unpack(expect_archive(monkeypatch), tmp_path)
    splits = SplitSizes(train=64, val=24, test=48, reward=6)
    config = dataclasses.replace(
        tiny, task="cifar10", image_size=16, data=DataSource(str(tmp_path)), splits=splits, episode_steps=8
    )
    assert torch.equal(rolled(config), rolled(config))


def test_a_missing_cifar10_stops_the_environment_before_any_work(tmp_path):
    config = GrowthConfig(task="cifar10", image_size=32, data=DataSource(str(tmp_path)))
    with pytest.raises(DataError, match="CIFAR-10 is not at .*; to fetch it: "):
        GrowthEnv(config, n_envs=1)


def test_settings_take_every_task_size_and_deficit():
    for name, kind in TASKS.items():
        for size in kind.image_sizes:
            assert GrowthConfig(task=name, image_size=size, family="mixed:slow").image_size == size
    with pytest.raises(ConfigError, match="templates has image sizes"):
        GrowthConfig(task="templates", image_size=12)
    with pytest.raises(ConfigError, match="must be one of contrast, .*; got 'stuck9'"):
        GrowthConfig(family="mixed:stuck9")


def test_a_forced_deficit_is_every_hosts(tiny):
    env = GrowthEnv(dataclasses.replace(tiny, family="mixed:slow"), n_envs=3, seed=0)
    env.reset()
    assert [env.world.episodes.deficit(host).name for host in range(3)] == ["slow"] * 3
