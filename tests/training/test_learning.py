from __future__ import annotations

import pytest

from tamiyo_trl.envs.recall import RecallConfig, RecallEnv
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import make_actor_critic
from tamiyo_trl.training import TrainConfig, train

pytestmark = pytest.mark.slow

ENVS, STEPS, UPDATES = 32, 12, 60


def late_return(memory: str) -> tuple[float, RecallEnv]:
    """Return the mean return over the last ten updates of a short training."""
    env = RecallEnv(RecallConfig(delay=2, jitter=1), n_envs=ENVS, seed=0)
    actor_critic = make_actor_critic(env, memory=memory, hidden_size=32, encoder_size=32, seed=0)
    settings = PPOConfig(slice_len=STEPS, minibatches=2, lr=4e-3, entropy_coeff=0.01, target_kl=0.05)
    config = TrainConfig(total_frames=UPDATES * ENVS * STEPS, frames_per_batch=ENVS * STEPS)
    returns = [m["episode/return"] for m in train(env, actor_critic, PPOLearner(actor_critic, settings), config)]
    return sum(returns[-10:]) / 10, env


def test_an_lstm_learns_to_recall():
    found, env = late_return("lstm")
    assert found > 0.95 * env.optimum


def test_a_policy_without_memory_stays_at_chance():
    found, env = late_return("mlp")
    assert found == pytest.approx(env.chance, abs=0.1)
