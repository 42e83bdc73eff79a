"""How much a study spends, and the learner's settings that all its arms share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, HostTrainingConfig
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.objectives import PPOConfig
from tamiyo_trl.studies.run import Exam, Run
from tamiyo_trl.training.experiment import ControllerSettings, RunConfig

# What the tuning starts from, and what it tries, each as one change.
START = ControllerSettings(lr=1e-3, lr_end=1e-4, ppo=PPOConfig(slice_len=8, minibatches=16))


def _taught(**changes: Any) -> ControllerSettings:
    return dataclasses.replace(START, ppo=dataclasses.replace(START.ppo, **changes))


VARIANTS: dict[str, ControllerSettings] = {
    "start": START,
    "lr-3e-3": dataclasses.replace(START, lr=3e-3, lr_end=3e-4),
    "epochs-10": _taught(epochs=10),
    "slice-25": _taught(slice_len=25),
    "cull-0": dataclasses.replace(START, cull_logit=0.0),
    "entropy-high": dataclasses.replace(START, entropy_coeff=0.06, entropy_end=0.006),
    "slice-16": _taught(slice_len=16),
    "refresh": _taught(refresh="epoch"),
}
TUNING_EPISODES = 640
TUNING_SEEDS = (900, 901)
TUNING_ENVS = 64  # hosts at once

# The same for all arms, chosen by `python recipes/ab_mlp_vs_lstm.py --tune`: the changes that helped both memories.
# More epochs helped both too, but pull the same lever as the learning rate. Half as many hosts at once as in the
# tuning, in minibatches of the same size, give twice the updates.
CHOSEN = dataclasses.replace(_taught(slice_len=25, minibatches=8), lr=3e-3, lr_end=3e-4)

TOY = GrowthConfig(
    image_size=8,
    episode_steps=12,
    splits=SplitSizes(train=128, val=64, test=64),
    training=HostTrainingConfig(images_per_step=64, batch_size=32, decay_from=6),
)


@dataclass(frozen=True)
class Budget:
    """How much is spent.

    Attributes:
        episodes: Training episodes of each run.
        seeds: Training seeds of each arm.
        n_envs: Hosts trained at once.
        env: What is simulated, observation aside.
        controller: Sizes of the controller and how it is taught.
        exam: How trained controllers are examined.
    """

    episodes: int
    seeds: int
    n_envs: int
    env: GrowthConfig
    controller: ControllerSettings
    exam: Exam


BUDGETS = {
    "smoke": Budget(
        episodes=8,
        seeds=2,
        n_envs=4,
        env=TOY,
        controller=ControllerSettings(
            hidden_size=16, encoder_size=16, cull_logit=0.0, ppo=PPOConfig(slice_len=6, minibatches=2)
        ),
        exam=Exam(8, n_envs=8, mode_episodes=8, disturbed_episodes=8, reset_at=(4,), reset_every=(1,), swap_at=(4,)),
    ),
    "small": Budget(
        episodes=512,
        seeds=3,
        n_envs=32,
        env=GrowthConfig(image_size=8),
        controller=CHOSEN,
        exam=Exam(episodes=32, mode_episodes=32),
    ),
    "full": Budget(episodes=3008, seeds=5, n_envs=32, env=GrowthConfig(image_size=8), controller=CHOSEN, exam=Exam()),
    "long": Budget(episodes=6016, seeds=2, n_envs=32, env=GrowthConfig(image_size=8), controller=CHOSEN, exam=Exam()),
}


def run_of(budget: Budget, arm: str, seed: int, results: Path, work: Path, command: str) -> Run:
    """Return the run of an arm, memory-observation (such as lstm-minimal), at this budget.

    Raises:
        ConfigError: the arm is not of that form, or its observation set is unknown.
    """
    memory, dash, observation = arm.partition("-")
    if not dash:
        raise ConfigError(f"an arm is memory-observation, such as lstm-minimal; got {arm!r}")
    env = dataclasses.replace(budget.env, observation=observation)
    plan = RunConfig(memory, seed, budget.episodes, budget.n_envs, env, budget.controller)
    return Run(plan, results, work, budget.exam, command)
