"""A resume that is refused leaves its folder as it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torchrl.envs import TransformedEnv

from tamiyo_trl.data.images import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig
from tamiyo_trl.errors import CheckpointError
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import make_actor_critic
from tamiyo_trl.training import TrainConfig, train

HOSTS = GrowthConfig(
    image_size=8,
    episode_steps=8,
    splits=SplitSizes(train=64, val=32, test=32, reward=32),
    training=HostTrainingConfig(images_per_step=32, batch_size=32, decay_from=3),
)


def run(config: GrowthConfig, folder: Path, updates: int, resume: bool = False) -> None:
    torch.manual_seed(0)
    env = GrowthEnv(config, 2, seed=1)
    actor_critic = make_actor_critic(env)
    learner = PPOLearner(actor_critic, PPOConfig(slice_len=4, minibatches=2))
    length = TrainConfig(total_frames=16 * updates, frames_per_batch=16)
    world = TransformedEnv(env, actor_critic.transforms())
    for _ in train(world, actor_critic, learner, length, directory=folder, resume=resume):
        pass


def test_a_resume_with_other_hosts_is_refused_by_name_and_leaves_the_tables_alone(tmp_path):
    run(HOSTS, tmp_path, updates=1)
    table = tmp_path / "metrics.csv"
    with table.open("a") as file:
        file.write("99,rows that a resume would trim")
    before = table.read_bytes()
    with pytest.raises(CheckpointError, match="hosts with reward = 'gain', these have 'sparse'"):
        run(dataclasses.replace(HOSTS, reward="sparse"), tmp_path, updates=2, resume=True)
    assert table.read_bytes() == before
    run(HOSTS, tmp_path, updates=2, resume=True)
    assert b"rows that" not in table.read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"family": "single"}, "family = 'mixed', these have 'single'"),
        ({"task": "templates"}, "task = 'digits', these have 'templates'"),
        ({"episode_steps": 16}, "episode_steps = 8, these have 16"),
    ],
)
def test_every_setting_that_makes_other_hosts_is_named(tmp_path, change, said):
    run(HOSTS, tmp_path, updates=1)
    with pytest.raises(CheckpointError, match=said):
        run(dataclasses.replace(HOSTS, **change), tmp_path, updates=2, resume=True)
