"""Anyone can add a deficit or a family by name; what is registered acts on real hosts and changes no other family."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tamiyo_trl.data import Corruption, SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.envs.growth.deficits import HIDDEN_QUALITY, MIXED, REGISTERED, Deficit, QualityRange, register_deficit
from tamiyo_trl.envs.growth.family import FAMILIES, Family, make_family, register_family
from tamiyo_trl.errors import ConfigError

DOCUMENT = Path(__file__).parents[3] / "docs" / "worlds.md"


@dataclass(frozen=True)
class Dark(Corruption):
    """Nothing is to be seen."""

    def change(self, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        return torch.zeros_like(images)


@pytest.fixture(autouse=True)
def _clean(monkeypatch) -> None:
    """Forget what a test registers."""
    for registry in (REGISTERED, FAMILIES):
        for name in ("hot", "dark", "calm"):
            monkeypatch.setitem(registry, name, None)  # so that it is restored to what it was: absent
            del registry[name]


@pytest.fixture
def config() -> GrowthConfig:
    return GrowthConfig(image_size=8, splits=SplitSizes(64, 32, 32))


def test_a_registered_deficit_is_drawn_where_it_is_named(config):
    register_deficit(Deficit("hot", lr_scale=20.0))
    env = GrowthEnv(dataclasses.replace(config, family="mixed:contrast+hot"), n_envs=12, seed=0)
    env.reset()
    assert {env.world.episodes.deficit(host).name for host in range(12)} == {"contrast", "hot"}
    alone = GrowthEnv(dataclasses.replace(config, family="mixed:hot"), n_envs=2, seed=0)
    alone.reset()
    assert [alone.world.episodes.deficit(host).lr_scale for host in range(2)] == [20.0, 20.0]


def test_registering_changes_no_host_of_the_mixed_family():
    before = [make_family("mixed", 8).deficit(seed) for seed in range(50)]
    register_deficit(Deficit("hot", lr_scale=20.0))
    after = make_family("mixed", 8)
    assert [after.deficit(seed) for seed in range(50)] == before
    assert after.deficits == MIXED["digits", 8]


@pytest.mark.parametrize("task", ["digits", "templates"])
def test_a_corruption_of_ones_own_reaches_the_images(config, task):
    register_deficit(Deficit("dark", Dark()))
    env = GrowthEnv(dataclasses.replace(config, task=task, family="mixed:dark"), n_envs=1, seed=0)
    env.reset()
    assert (env.world.episodes.images["train_images"] == 0).all()
    assert (env.world.episodes.test_split([0])[0] == 0).all()


def test_a_registered_family_has_deficits_and_qualities_of_its_own(config):
    def calm(task: str, image_size: int) -> Family:
        return Family("calm", MIXED[task, image_size][:2], QualityRange(dead_shares=(0.25,)))

    register_family("calm", calm)
    made = make_family("calm", 8)
    assert made.seed_quality(3, 0).dead_share == 0.25
    assert made.quality != HIDDEN_QUALITY
    assert make_family("calm:slow", 8).deficits == (MIXED["digits", 8][1],)
    assert GrowthEnv(dataclasses.replace(config, family="calm"), n_envs=1).world.episodes.family == made


def test_the_order_named_is_the_order_drawn_from():
    assert [deficit.name for deficit in make_family("mixed:slow+contrast", 8).deficits] == ["slow", "contrast"]
    with pytest.raises(ConfigError, match=r"names slow twice"):
        make_family("mixed:slow+slow", 8)


def test_healthy_hosts_can_be_asked_for_at_every_size():
    assert make_family("mixed:healthy", 8).deficits[0].name == "healthy"


@pytest.mark.parametrize("name", ["", "a+b", "a:b", " hot", "hot\n"])
def test_names_that_could_not_be_asked_for_are_refused(name):
    with pytest.raises(ConfigError, match="must have a name without"):
        register_deficit(Deficit(name))
    with pytest.raises(ConfigError, match="must have a name without"):
        register_family(name, lambda task, size: make_family("mixed", size, task))


def test_names_already_taken_are_refused_and_the_same_again_is_not():
    hot = Deficit("hot", lr_scale=20.0)
    register_deficit(hot)
    register_deficit(hot)  # as when a notebook runs a cell again, or a worker process imports the script
    with pytest.raises(ConfigError, match="deficit 'hot' is taken"):
        register_deficit(Deficit("hot", lr_scale=30.0))
    register_deficit(Deficit("dark", Dark()))
    again = dataclass(frozen=True)(type("Dark", (Corruption,), {"__qualname__": Dark.__qualname__}))
    register_deficit(Deficit("dark", again()))
    with pytest.raises(ConfigError, match="deficit 'stuck1' is taken"):
        register_deficit(Deficit("stuck1"))
    with pytest.raises(ConfigError, match="family 'mixed' is taken"):
        register_family("mixed", lambda task, size: make_family("single", size, task))


def test_unknown_names_are_refused_with_those_that_are_known():
    register_deficit(Deficit("hot", lr_scale=20.0))
    with pytest.raises(
        ConfigError, match=r"must be one of contrast, slow, stuck1, noisy labels, healthy, hot; got 'x'"
    ):
        make_family("mixed:slow+x", 8)


def test_the_documents_example_runs(monkeypatch, capsys):
    """The code block of docs/worlds.md that adds a deficit, as it stands there, on fewer images."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.S)
    (block,) = (block for block in blocks if "register_deficit" in block)
    monkeypatch.setattr(GrowthConfig, "__init__", _small(GrowthConfig.__init__))
    exec(compile(block, str(DOCUMENT), "exec"), {"__name__": "example"})
    assert capsys.readouterr().out.strip()


def _small(real):
    return lambda self, **settings: real(self, **{"splits": SplitSizes(64, 32, 32), "episode_steps": 7, **settings})
