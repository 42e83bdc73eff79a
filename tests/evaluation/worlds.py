"""A small world for the tests of evaluation: real training, little of it."""

from __future__ import annotations

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, HostTrainingConfig

TINY = GrowthConfig(
    image_size=8,
    episode_steps=12,
    splits=SplitSizes(train=128, val=64, test=64),
    training=HostTrainingConfig(images_per_step=64, batch_size=32, decay_from=6),
)
