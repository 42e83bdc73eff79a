"""One's own task, reward and observation enter a GrowthEnv by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tamiyo_trl.data import Corruption, DataSource, SplitSizes
from tamiyo_trl.data.images import EpisodeImages
from tamiyo_trl.data.tasks import TASKS, register_task
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.envs.growth.features import Feature
from tamiyo_trl.envs.growth.observations import MINIMAL, OBSERVATIONS, register_observation
from tamiyo_trl.envs.growth.rewards import REWARDS, Outcome, RewardConfig, register_reward
from tamiyo_trl.errors import ConfigError


@pytest.fixture(autouse=True)
def _own_registries() -> Iterator[None]:
    kept = [(registry, dict(registry)) for registry in (TASKS, REWARDS, OBSERVATIONS)]
    yield
    for registry, content in kept:
        registry.clear()  # type: ignore[attr-defined]
        registry.update(content)  # type: ignore[attr-defined]


class HalvesTask:
    """Two classes: the brighter half of a grey image is the upper or the lower one."""

    channels, classes = 1, 2

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size

    def draw(self, seed: int, sizes: SplitSizes, corruption: Corruption) -> EpisodeImages:
        rng = torch.Generator().manual_seed(seed)
        splits: dict[str, Tensor] = {}
        for name, count in vars(sizes).items():
            labels = torch.randint(2, (count,), generator=rng)
            images = torch.randn(count, 1, self.image_size, self.image_size, generator=rng)
            half = self.image_size // 2
            images[labels == 0, :, :half] += 1.0
            images[labels == 1, :, half:] += 1.0
            splits |= {f"{name}_images": images, f"{name}_labels": labels}
        return EpisodeImages(**splits, pool=sizes.train)


def make_halves(image_size: int, source: DataSource) -> HalvesTask:
    return HalvesTask(image_size)


def pay_for_loss(outcome: Outcome, config: RewardConfig) -> dict[str, Tensor]:
    return {"loss": config.scale * (outcome.before.val_loss - outcome.now.val_loss)}


STEPS_LEFT = Feature(
    "steps left", "episode steps - steps taken", "steps", "clock", 0, 100, lambda s: s.episode_steps - s.now.step
)


def test_a_task_a_reward_and_an_observation_of_ones_own_run_in_an_environment() -> None:
    register_task("halves", (8, 16), make_halves)
    register_reward("loss", pay_for_loss, ("loss",))
    register_observation("countdown", (*MINIMAL, STEPS_LEFT))
    splits = SplitSizes(train=64, val=32, test=32)
    config = GrowthConfig(
        task="halves", image_size=8, family="single", splits=splits, reward="loss", observation="countdown"
    )
    env = GrowthEnv(config, n_envs=2, seed=0)
    steps = env.rollout(3)
    left = env.feature_names.index("steps left")
    assert steps["observation"][0, :, left].tolist() == [25.0, 24.0, 23.0]
    parts = steps["next", "reward_parts"]
    assert sorted(parts.keys()) == ["fault", "loss"]
    assert torch.equal(parts["loss"], steps["next", "reward"])
    assert (steps["next", "reward"].sum(1) > 0).all()  # the easiest task: losses fall


def test_what_is_registered_again_alike_is_taken_and_another_under_the_name_is_refused() -> None:
    for _ in range(2):
        register_task("halves", (8,), make_halves)
        register_reward("loss", pay_for_loss, ("loss",))
        register_observation("countdown", (*MINIMAL, STEPS_LEFT))
    with pytest.raises(ConfigError, match="task 'digits' is taken"):
        register_task("digits", (8,), make_halves)
    with pytest.raises(ConfigError, match="reward 'gain' is taken"):
        register_reward("gain", pay_for_loss, ("loss",))
    with pytest.raises(ConfigError, match="observation 'minimal' is taken"):
        register_observation("minimal", (STEPS_LEFT,))


def test_what_cannot_be_registered_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="image size"):
        register_task("halves", (), make_halves)
    with pytest.raises(ConfigError, match="not 'fault'"):
        register_reward("loss", pay_for_loss, ("fault",))
    with pytest.raises(ConfigError, match="distinct names"):
        register_observation("twice", (STEPS_LEFT, STEPS_LEFT))
