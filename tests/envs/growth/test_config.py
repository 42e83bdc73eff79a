"""What a GrowthConfig fills in and refuses."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.hosts import Fleet


@pytest.mark.parametrize(("size", "asked", "images"), [(8, 0, 256), (16, 0, 512), (8, 64, 64), (16, 64, 64)])
def test_a_step_trains_on_as_many_images_as_suit_their_size_or_as_asked(monkeypatch, size, asked, images):
    config = GrowthConfig(image_size=size, training=HostTrainingConfig(images_per_step=asked))
    assert config.images_per_step == images
    seen = []
    train = Fleet.train_epoch

    def watched(self, pool, labels, order, **settings):
        seen.append(order.shape)
        return train(self, pool, labels, order, **settings)

    monkeypatch.setattr(Fleet, "train_epoch", watched)
    env = GrowthEnv(config, n_envs=1)
    env.reset()
    env.step(TensorDict({"action": torch.zeros(1, 3, dtype=torch.long)}, [1]))
    assert seen == [(1, images)]


@pytest.mark.parametrize(
    ("size", "training", "said"),
    [
        (16, {"images_per_step": 100}, "100 do not fit"),
        (16, {"images_per_step": -32}, "not negative: got 32 and -32"),
        (8, {"batch_size": 96}, "96 and 256 do not fit"),
        (16, {"batch_size": 1}, "at least 2"),
    ],
)
def test_batches_that_do_not_fit_are_refused_with_their_numbers(size, training, said):
    with pytest.raises(ConfigError, match=said):
        GrowthConfig(image_size=size, training=HostTrainingConfig(**training))
