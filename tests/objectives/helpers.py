"""Real rollouts for the tests of the learner: a masked, several-headed task with staggered ends, some truncated."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torchrl.envs import Compose, EnvBase, ExplorationType, StepCounter, TransformedEnv, set_exploration_type

from tamiyo_trl.envs.recall import RecallConfig, RecallEnv
from tamiyo_trl.policies import ActorCritic, make_actor_critic

SMALL = RecallConfig(delay=2, jitter=3)
MAX_STEPS = 4  # shorter than some episodes (4..7 steps), so that these are truncated


def make_policy(memory: str = "lstm", envs: int = 4, seed: int = 0, **settings: object) -> ActorCritic:
    """Return a small actor-critic whose weights are spread enough for ratios and gradients to mean something."""
    raw = RecallEnv(SMALL, n_envs=envs, seed=seed)
    actor_critic = make_actor_critic(raw, memory=memory, hidden_size=8, encoder_size=8, seed=seed, **settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in actor_critic.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return actor_critic


def make_env(actor_critic: ActorCritic, envs: int = 4, seed: int = 0) -> EnvBase:
    """Return the task with the policy's transforms, its longer episodes truncated after `MAX_STEPS` steps."""
    raw = RecallEnv(SMALL, n_envs=envs, seed=seed)
    return TransformedEnv(raw, Compose(StepCounter(max_steps=MAX_STEPS), *_free(actor_critic)))


def _free(actor_critic: ActorCritic) -> list:
    transforms = list(actor_critic.transforms())
    for transform in transforms:
        transform.reset_parent()
    return transforms


def collect(actor_critic: ActorCritic, env: EnvBase, steps: int, seed: int = 0) -> TensorDictBase:
    """Return a rollout [E, T] with episode ends inside the rows."""
    torch.manual_seed(seed)
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        return env.rollout(steps, actor_critic.collection_policy(), break_when_any_done=False)


def rollout(memory: str = "lstm", envs: int = 4, steps: int = 11, seed: int = 0) -> tuple[ActorCritic, TensorDictBase]:
    """Return a policy and a rollout [E, T] of it."""
    actor_critic = make_policy(memory, envs, seed)
    return actor_critic, collect(actor_critic, make_env(actor_critic, envs, seed), steps, seed)
