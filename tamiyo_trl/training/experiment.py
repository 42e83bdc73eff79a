"""One training run as recipes compose it: environment, controller, learner and their settings, in one place."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from torchrl.envs import EnvBase, TransformedEnv

from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.envs.growth.actions import HEAD_NAMES
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.objectives import LinearSchedule, PPOConfig, PPOLearner
from tamiyo_trl.policies import ActorCritic, ActorCriticOptions, make_actor_critic
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.training import TrainConfig, train
from tamiyo_trl.training.loop import Summary
from tamiyo_trl.training.summaries import growth_summary

SPEC_SLICES = PPOConfig(slice_len=8)  # the spec's 8; for other lengths see docs/results/evidence/tuning


@dataclass(frozen=True)
class ControllerSettings:
    """Sizes of a controller and how it is taught.

    Attributes:
        hidden_size: Units of the memory.
        encoder_size: Units of the encoder before it.
        cull_logit: Initial logit of CULL; below 0, seeds live long enough at first for their worth to show.
        lr, lr_end: Learning rate at the start and, reached linearly, at the end of training.
        entropy_coeff, entropy_end: Weight of the entropy bonus (nats) at the start and the end, likewise.
        ppo: The learner's other settings; slices are the spec's 8 steps.
    """

    hidden_size: int = 128
    encoder_size: int = 256
    cull_logit: float = -2.0
    lr: float = 3e-3
    lr_end: float = 3e-4
    entropy_coeff: float = 0.02
    entropy_end: float = 0.002
    ppo: PPOConfig = SPEC_SLICES

    def learner_config(self, frames: int) -> PPOConfig:
        """Return the learner's settings for a training of this many frames."""
        return dataclasses.replace(
            self.ppo,
            lr=LinearSchedule(self.lr, self.lr_end, frames),
            entropy_coeff=LinearSchedule(self.entropy_coeff, self.entropy_end, frames),
        )


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a training run learns.

    Attributes:
        memory: The controller's memory by name.
        seed: Root of every random stream: hosts, initial weights, sampling, minibatches.
        episodes: Training episodes in all; one batch is one episode of every env.
        n_envs: Hosts trained at once.
        env: What is simulated.
        controller: Sizes of the controller and how it is taught.
        checkpoint_every: Updates between checkpoints.
    """

    memory: str
    seed: int
    episodes: int
    n_envs: int = 16
    env: GrowthConfig = field(default_factory=GrowthConfig)
    controller: ControllerSettings = field(default_factory=ControllerSettings)
    checkpoint_every: int = 5

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.episodes % self.n_envs:
            raise ConfigError(f"episodes must be a positive multiple of n_envs={self.n_envs}, got {self.episodes}")

    @property
    def frames(self) -> int:
        """Environment steps of the whole training."""
        return self.episodes * self.env.episode_steps


def make_controller(plan: RunConfig, env: EnvBase) -> ActorCritic:
    """Return the untrained controller of this plan for `env`, a GrowthEnv or several of them side by side."""
    sizes = (len(Op), len(plan.env.sites), len(plan.env.blueprints))
    habit = [0.0] * sum(sizes)
    habit[Op.CULL] = plan.controller.cull_logit
    return make_actor_critic(
        env,
        plan.memory,
        hidden_size=plan.controller.hidden_size,
        encoder_size=plan.controller.encoder_size,
        seed=plan.seed,
        options=ActorCriticOptions(head_names=HEAD_NAMES, initial_logits=tuple(habit)),
    )


def training(
    plan: RunConfig,
    env: EnvBase,
    actor_critic: ActorCritic,
    directory: str | os.PathLike[str],
    *,
    resume: bool = False,
    tensorboard: bool = False,
    summaries: Sequence[Summary] = (growth_summary,),
) -> Generator[dict[str, float], None, None]:
    """Return the iterator that trains `actor_critic` on `env` as planned, one update a step; see `train`.

    Raises:
        ConfigError: settings that do not fit the environment or each other.
        RunFolderError: the folder holds a run and `resume` is off, holds none and it is on, or one of other settings.
        CheckpointError: the newest checkpoint does not load, or is of another policy or environment.
    """
    config = TrainConfig(
        total_frames=plan.frames,
        frames_per_batch=plan.n_envs * plan.env.episode_steps,
        checkpoint_every=plan.checkpoint_every,
        tensorboard=tensorboard,
        seed=plan.seed,
    )
    learner = PPOLearner(actor_critic, plan.controller.learner_config(plan.frames), seed=plan.seed)
    return train(
        TransformedEnv(env, actor_critic.transforms()),
        actor_critic,
        learner,
        config,
        directory=directory,
        resume=resume,
        summaries=summaries,
    )
