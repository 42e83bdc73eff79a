"""The books of one model show a controller what GrowthEnv shows it of the same measurements."""

from __future__ import annotations

import pytest
import torch

from tamiyo_trl import keys
from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig, LifecycleConfig
from tamiyo_trl.envs.growth.readings import Readings
from tamiyo_trl.grow import GrowthSpace
from tamiyo_trl.grow.ledger import Ledger, Measured


def measured(readings: Readings) -> Measured:
    """Return what a training loop would have told of these readings of one host."""
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "host_grad_norm", "seed_grad_norm")
    contribution = float(readings.contribution[0]) if bool(readings.has_contribution[0]) else None
    return Measured(**{name: float(getattr(readings, name)[0]) for name in names}, contribution=contribution)


@pytest.mark.parametrize("rules", [LifecycleConfig(), LifecycleConfig(germinate_from=2, plateau_steps=1)])
@pytest.mark.parametrize("observation", ["minimal", "snapshot", "summary"])
def test_observation_and_mask_equal_the_environments(observation: str, rules: LifecycleConfig) -> None:
    config = GrowthConfig(
        image_size=8,
        splits=SplitSizes(train=64, val=32, test=32),
        training=HostTrainingConfig(images_per_step=32, decay_from=10),
        lifecycle=rules,
        observation=observation,
    )
    env = GrowthEnv(config, n_envs=1, seed=3)
    space = GrowthSpace(3, config.blueprints, observation, rules)
    books = Ledger(space, config.episode_steps, env.world.fleet.host_parameters, torch.ones(3, 7, dtype=torch.bool))
    shown = env.reset()
    books.begin(measured(env.world.readings))
    planted = 0
    for step in range(config.episode_steps):
        assert torch.equal(books.observation, shown[keys.OBSERVATION])
        assert torch.equal(books.mask, shown[keys.ACTION_MASK])
        shown = env.rand_action(shown)
        op, site, kind = shown[keys.ACTION][0].tolist()
        books.act((op, site, kind))
        shown = env.step(shown)["next"]
        if step < config.episode_steps - 1:  # the environment's last step also commits
            books.record(measured(env.world.readings), int(env.world.readings.added_parameters[0]))
        planted += op == 1
    assert planted > 0
    assert books.germinated == planted
