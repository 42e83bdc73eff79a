"""How much a study spends, and the learner's settings that all its arms share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, HostTrainingConfig
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.studies.run import Exam, Run
from tamiyo_trl.training.experiment import LEARNER, RunConfig

# What the tuning starts from, and what it tries, each as one change.
START = RunConfig(
    episodes=640,
    n_envs=64,
    env=GrowthConfig(image_size=8),
    ppo=dataclasses.replace(LEARNER, minibatches=16, lr=1e-3, lr_end=1e-4),
)


def _taught(**changes: Any) -> RunConfig:
    return dataclasses.replace(START, ppo=dataclasses.replace(START.ppo, **changes))


VARIANTS: dict[str, RunConfig] = {
    "start": START,
    "lr-3e-3": _taught(lr=3e-3, lr_end=3e-4),
    "epochs-10": _taught(epochs=10),
    "slice-25": _taught(slice_len=25),
    "cull-0": dataclasses.replace(START, cull_logit=0.0),
    "entropy-high": _taught(entropy_coeff=0.06, entropy_end=0.006),
    "slice-16": _taught(slice_len=16),
    "refresh": _taught(refresh="epoch"),
}
TUNING_SEEDS = (900, 901)

# The same for all arms, chosen by `python recipes/ab_mlp_vs_lstm.py --tune`: the changes that helped both memories.
# More epochs helped both too, but pull the same lever as the learning rate. Half as many hosts at once as in the
# tuning, in minibatches of the same size, give twice the updates.
CHOSEN = dataclasses.replace(LEARNER, slice_len=25, minibatches=8)

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
        seeds: Training seeds of each arm.
        run: Each run; memory, observation and seed are the arm's.
        exam: How trained controllers are examined.
    """

    seeds: int
    run: RunConfig
    exam: Exam


def _digits(episodes: int) -> RunConfig:
    return RunConfig(episodes=episodes, n_envs=32, env=GrowthConfig(image_size=8), ppo=CHOSEN)


BUDGETS = {
    "smoke": Budget(
        seeds=2,
        run=RunConfig(
            episodes=8,
            n_envs=4,
            hidden_size=16,
            encoder_size=16,
            cull_logit=0.0,
            env=TOY,
            ppo=dataclasses.replace(LEARNER, slice_len=6, minibatches=2),
        ),
        exam=Exam(8, n_envs=8, mode_episodes=8, disturbed_episodes=8, reset_at=(4,), reset_every=(1,), swap_at=(4,)),
    ),
    "small": Budget(seeds=3, run=_digits(512), exam=Exam(episodes=32, mode_episodes=32)),
    "full": Budget(seeds=5, run=_digits(3008), exam=Exam()),
    "long": Budget(seeds=2, run=_digits(6016), exam=Exam()),
}


def run_of(budget: Budget, arm: str, seed: int, results: Path, work: Path, command: str) -> Run:
    """Return the run of an arm, memory-observation (such as lstm-minimal), at this budget.

    Raises:
        ConfigError: the arm is not of that form, or its observation set is unknown.
    """
    memory, dash, observation = arm.partition("-")
    if not dash:
        raise ConfigError(f"an arm is memory-observation, such as lstm-minimal; got {arm!r}")
    env = dataclasses.replace(budget.run.env, observation=observation)
    plan = dataclasses.replace(budget.run, memory=memory, seed=seed, env=env)
    return Run(plan, results, work, budget.exam, command)
