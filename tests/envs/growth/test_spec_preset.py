"""The `spec` preset has the numbers of the design spec and its reference."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torchrl.envs import TransformedEnv

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.envs.growth.world import host_config
from tamiyo_trl.hosts import HostConfig
from tamiyo_trl.hosts.cohort import EpochStats
from tamiyo_trl.seeds.blueprints import BLUEPRINTS
from tamiyo_trl.transforms import FlatAction

# Parameters by blueprint at 8, 16, 32, 64 and 128 channels.
PARAMETERS = {
    "norm": (17, 33, 65, 129, 257),
    "attention": (32, 128, 512, 2_048, 8_192),
    "depthwise": (152, 432, 1_376, 4_800, 17_792),
    "conv_light": (592, 2_336, 9_280, 36_992, 147_712),
    "conv_heavy": (1_184, 4_672, 18_560, 73_984, 295_424),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_blueprints_have_the_references_parameters(name):
    assert tuple(BLUEPRINTS[name].parameter_count(c) for c in (8, 16, 32, 64, 128)) == PARAMETERS[name]


def test_the_preset_is_the_specs_setting():
    config = GrowthConfig.spec()
    assert config.blueprints == tuple(PARAMETERS)  # in the order of its actions 1 to 5
    assert config.channels == (32, 64, 128)
    assert config.sites == (1,)  # after the second block, at 64 channels
    assert config.episode_steps == 25
    assert (config.training.lr, config.training.batch_size, config.training.decay_from) == (0.01, 128, 25)
    assert config.images_per_step % config.training.batch_size == 0
    life = config.lifecycle
    assert (life.train_steps, life.blend_steps, life.hold_steps, life.min_cull_age) == (3, 5, 2, 10)
    assert (life.blend_curve, life.germinate_from, life.plateau_steps, life.embargo_steps) == ("sigmoid", 5, 3, 1)
    assert config.family == "single"


def test_the_presets_learning_rate_is_constant(monkeypatch):
    small = dataclasses.replace(GrowthConfig.spec(), splits=SplitSizes(train=128, val=8, test=8))
    env = GrowthEnv(small, n_envs=1)
    rates = []
    fleet = env.world.fleet

    def spy(images, labels, order, *, batch_size, lr):
        rates.append(float(lr))
        return EpochStats.zeros(torch.zeros(1, 3))

    monkeypatch.setattr(fleet, "train_epoch", spy)
    env.rollout(14)
    assert rates == pytest.approx([0.01] * 14)


def test_hosts_have_the_references_parameters():
    assert HostConfig.spec().parameters == 94_762
    assert HostConfig.baseline().parameters == 6_418
    default = host_config(GrowthConfig(), GrowthEnv(GrowthConfig(), n_envs=1).world.episodes.task)
    assert default.parameters == HostConfig.baseline().parameters  # the size of images does not count


def test_flat_actions_are_the_specs_eight_and_masked():
    small = dataclasses.replace(GrowthConfig.spec(), splits=SplitSizes(train=128, val=8, test=8))
    env = GrowthEnv(small, n_envs=2)
    world = env.world
    flat = TransformedEnv(env, FlatAction(env.joint_actions))
    tensordict = flat.reset()
    assert flat.action_spec.space.n == 8
    assert tensordict["action_mask"].tolist() == [[True] + [False] * 7] * 2  # germination opens at step 5
    world.readings.step[:] = 6
    world.history.stabilised[:], world.history.plateau[:] = True, 3
    assert world.mask.sum().item() == 2 * 6  # WAIT and five germinations
    # Flat action 4 germinates the fourth blueprint, conv_light, at the site behind block 2.
    world.step(env.joint_actions[torch.tensor([4, 0])])
    assert world.readings.blueprint.tolist() == [[3], [-1]]
    assert world.readings.added_parameters.tolist() == [36_992, 0]


def test_the_document_has_these_numbers():
    text = (Path(__file__).parents[3] / "docs" / "worlds.md").read_text()
    section = text.partition("## The spec's own setting")[2].partition("\n## ")[0]
    for count in (94_762, 6_418, *(row[3] for row in PARAMETERS.values())):
        assert f"{count:,}" in section
