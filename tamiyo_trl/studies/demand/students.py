"""Students of either memory taught by the informed script, without any reward: what each can come to do of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from tensordict import TensorDictBase
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.collectors.collector import make_collector
from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.objectives.imitate import ImitationConfig, Imitator, Teacher
from tamiyo_trl.policies import ActorCritic, make_actor_critic
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.studies.demand.scripts import Script

MEMORIES = ("mlp", "lstm")


@dataclass(frozen=True)
class Lessons:
    """How students are taught, all memories alike.

    Attributes:
        episodes: Episodes that each student plays and is corrected on; 0 teaches none.
        seeds: Students of each memory; student k begins with weights of seed k.
        hidden_size: Units of the memory, or of the network without one.
        imitation: The learner's settings.
    """

    episodes: int = 768
    seeds: int = 2
    hidden_size: int = 128
    imitation: ImitationConfig = field(default_factory=lambda: ImitationConfig(epochs=4, minibatches=4, lr=1e-3))

    def __post_init__(self) -> None:
        if self.episodes < 0 or self.seeds < 1:
            raise ConfigError(
                f"episodes must not be negative and seeds at least 1, got {self.episodes} and {self.seeds}"
            )


def student_name(memory: str, seed: int) -> str:
    """Return what tables call a student."""
    return f"student {memory} {seed}"


def as_teacher(script: Script) -> Teacher:
    """Return the teacher that says what a script, which looks at the present alone, would do in each step."""

    def teach(batch: TensorDictBase) -> Tensor:
        flat = batch.select(*script.in_keys).reshape(-1)
        return script(flat)[keys.ACTION].reshape(*batch.batch_size, -1)

    return teach


def teach(env: GrowthEnv, memory: str, script: Script, lessons: Lessons, seed: int) -> ActorCritic:
    """Return a student of this memory, with weights of `seed`, that was taught by a script on the hosts of `env`.

    Raises:
        ConfigError: the episodes are not whole batches of all envs.
    """
    if lessons.episodes % env.n_envs:
        raise ConfigError(f"episodes must be a multiple of n_envs {env.n_envs}, got {lessons.episodes}")
    student = make_actor_critic(env, memory=memory, hidden_size=lessons.hidden_size, seed=seed)
    imitator = Imitator(student, as_teacher(script), lessons.imitation, seed=seed)
    steps = env.config.episode_steps
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "student"))
        for batch in make_collector(env, student, env.n_envs * steps, lessons.episodes * steps):
            imitator.update(batch)
    return student
