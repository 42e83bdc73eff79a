"""Small runs for the tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tamiyo_trl.envs.recall import RecallConfig, RecallEnv
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import ActorCritic, Memory, make_actor_critic
from tamiyo_trl.training import TrainConfig, has_run, train

ENVS, STEPS = 4, 10


def parts(
    memory: str | Memory = "lstm", seed: int = 0, envs: int = ENVS, **settings: object
) -> tuple[RecallEnv, ActorCritic, PPOLearner]:
    """Return a fresh environment, policy and learner."""
    env = RecallEnv(RecallConfig(delay=2, jitter=2), n_envs=envs, seed=seed)
    actor_critic = make_actor_critic(env, memory=memory, hidden_size=8, encoder_size=8, seed=seed)
    config = PPOConfig(**{"slice_len": 4, "epochs": 2, "minibatches": 2, "lr": 3e-3} | settings)
    return env, actor_critic, PPOLearner(actor_critic, config, seed=seed)


def config(updates: int, **settings: object) -> TrainConfig:
    """Return the settings of a run of `updates` updates."""
    return TrainConfig(
        **{"total_frames": updates * ENVS * STEPS, "frames_per_batch": ENVS * STEPS, "checkpoint_every": 3} | settings
    )


def run(directory: Path, updates: int, memory: str | Memory = "lstm", **settings: object) -> Sequence[dict[str, float]]:
    """Train to the end, resuming whatever `directory` holds."""
    return list(train(*parts(memory), config(updates, **settings), directory=directory, resume=has_run(directory)))
