"""Small worlds that train in a second or two."""

from __future__ import annotations

import dataclasses

import pytest

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, HostTrainingConfig


@pytest.fixture(scope="session")
def tiny() -> GrowthConfig:
    """8x8 digits, 64 images a step, 12 steps: real training, little of it."""
    return GrowthConfig(
        image_size=8,
        episode_steps=12,
        splits=SplitSizes(train=128, val=64, test=64, reward=96),
        training=HostTrainingConfig(images_per_step=64, batch_size=32, decay_from=6),
    )


@pytest.fixture(scope="session")
def with_changes():
    """Return the function that changes fields of a config."""
    return dataclasses.replace
