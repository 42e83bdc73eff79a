"""Training on real hosts resumes exactly too: seeds, histories, images and data orders included."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchrl.envs import TransformedEnv

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig
from tamiyo_trl.evaluation import growth_summary
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import make_actor_critic
from tamiyo_trl.training import TrainConfig, has_run, train
from tests.training.kills import run_with_kills

pytestmark = pytest.mark.slow

TINY = GrowthConfig(
    image_size=8,
    episode_steps=10,
    splits=SplitSizes(train=64, val=32, test=32),
    training=HostTrainingConfig(images_per_step=32, batch_size=16, decay_from=5),
)
UPDATES, STEPS, HOSTS = 96, 4, 2  # 4 steps a batch: checkpoints fall into the middle of episodes of 10


def run(directory: Path) -> None:
    """Begin or resume the run in this folder, and let it finish."""
    env = GrowthEnv(TINY, HOSTS, seed=0)
    actor_critic = make_actor_critic(env, hidden_size=8, encoder_size=8)
    learner = PPOLearner(actor_critic, PPOConfig(slice_len=2, epochs=1, minibatches=1, lr=1e-2))
    frames = HOSTS * STEPS
    config = TrainConfig(total_frames=UPDATES * frames, frames_per_batch=frames, checkpoint_every=2)
    wrapped = TransformedEnv(env, actor_critic.transforms())
    resume = has_run(directory)
    for _ in train(
        wrapped, actor_critic, learner, config, directory=directory, resume=resume, summaries=[growth_summary]
    ):
        pass


def rows(directory: Path) -> int:
    path = directory / "metrics.csv"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_run_on_real_hosts_killed_twenty_times_writes_the_metrics_of_an_uninterrupted_one(tmp_path):
    run(tmp_path / "whole")
    done = run_with_kills(lambda: run(tmp_path / "killed"), lambda: rows(tmp_path / "killed"), kills=20, seed=2)
    assert done == 20
    assert (tmp_path / "killed" / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()
