"""One training run as recipes compose it: environment, controller, learner and their settings, in one place."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from torchrl.envs import EnvBase

from tamiyo_trl.collectors.workers import EnvMaker
from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.envs.growth.actions import HEAD_NAMES
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import ActorCritic, ActorCriticOptions, PrivilegedCritic, SharedTrunk, make_actor_critic
from tamiyo_trl.policies.memories.kinds import resolve
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.training import TrainConfig, train
from tamiyo_trl.training.loop import Summary
from tamiyo_trl.training.summaries import growth_summary

LEARNER = PPOConfig(slice_len=8, lr=3e-3, lr_end=3e-4, entropy_coeff=0.02, entropy_end=0.002)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a training run learns.

    Attributes:
        memory: The controller's memory: lstm, gru, mlp (none) or frames (a window of observations).
        seed: Root of every random stream of the training: hosts, initial weights, sampling, minibatches.
        episodes: Training episodes in all; one batch is one episode of every env.
        n_envs: Hosts trained at once.
        hidden_size: Units of the memory.
        encoder_size: Units of the encoder before it.
        cull_logit: Initial logit of CULL; below 0, seeds live long enough at first for their worth to show.
        checkpoint_every: Updates between checkpoints.
        env: What is simulated. Where it shows `privileged`, the critic reads that too, by a network of its own.
        ppo: The learner's settings; slices are the design spec's 8 steps.
    """

    memory: str = "lstm"
    seed: int = 0
    episodes: int = 2000
    n_envs: int = 16
    hidden_size: int = 128
    encoder_size: int = 256
    cull_logit: float = -2.0
    checkpoint_every: int = 5
    env: GrowthConfig = field(default_factory=GrowthConfig)
    ppo: PPOConfig = LEARNER

    def __post_init__(self) -> None:
        resolve(self.memory)
        if self.n_envs < 1 or self.episodes < 1 or self.episodes % self.n_envs:
            raise ConfigError(f"episodes must be a positive multiple of n_envs={self.n_envs}, got {self.episodes}")

    @property
    def frames(self) -> int:
        """Environment steps of the whole training."""
        return self.episodes * self.env.episode_steps


def make_controller(config: RunConfig, env: EnvBase) -> ActorCritic:
    """Return the untrained controller of this run for `env`, a GrowthEnv or several of them side by side."""
    sizes = (len(Op), len(config.env.sites), len(config.env.blueprints))
    habit = [0.0] * sum(sizes)
    habit[Op.CULL] = config.cull_logit
    return make_actor_critic(
        env,
        config.memory,
        hidden_size=config.hidden_size,
        encoder_size=config.encoder_size,
        seed=config.seed,
        options=ActorCriticOptions(
            head_names=HEAD_NAMES,
            initial_logits=tuple(habit),
            critic=PrivilegedCritic() if config.env.privileged else SharedTrunk(),
        ),
    )


def training(
    run: RunConfig,
    env: EnvBase | Sequence[EnvMaker],
    actor_critic: ActorCritic,
    directory: str | os.PathLike[str],
    *,
    resume: bool = False,
    tensorboard: bool = False,
    summaries: Sequence[Summary] = (growth_summary,),
) -> Generator[dict[str, float], None, None]:
    """Return the iterator that trains `actor_critic` as configured, one update a step; see `train`.

    `env` is the environment, or one maker for each worker process.

    Raises:
        ConfigError: settings that do not fit the environment or each other.
        RunFolderError: the folder holds a run and `resume` is off, holds none and it is on, or one of other settings.
        CheckpointError: the newest checkpoint does not load, or is of another policy or environment.
    """
    config = TrainConfig(
        total_frames=run.frames,
        frames_per_batch=run.n_envs * run.env.episode_steps,
        checkpoint_every=run.checkpoint_every,
        tensorboard=tensorboard,
        seed=run.seed,
    )
    learner = PPOLearner(actor_critic, run.ppo, seed=run.seed, total_frames=run.frames)
    return train(
        env,
        actor_critic,
        learner,
        config,
        directory=directory,
        resume=resume,
        summaries=summaries,
    )
