"""In `duds` half of all seeds do not take, and one that does not leaves its host as it would be without it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.envs.growth import family as families
from tamiyo_trl.envs.growth.deficits import HALF_DUDS, QualityRange
from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op

pytestmark = pytest.mark.slow


def _all_duds(task: str, image_size: int) -> families.Family:
    quality = QualityRange(dead_shares=(1.0,), lr_scale=HALF_DUDS.lr_scale)
    return dataclasses.replace(make_family("mixed", image_size, task), name="all duds", quality=quality)


@pytest.fixture
def nothing_takes(tiny, monkeypatch) -> GrowthConfig:
    monkeypatch.setitem(families.FAMILIES, "all duds", _all_duds)
    return dataclasses.replace(tiny, family="all duds", privileged=True)


def play(config: GrowthConfig, plan: list[tuple[int, int, int]]) -> TensorDict:
    env = GrowthEnv(config, n_envs=1, seed=11)
    env.reset()
    steps = [env.step(TensorDict({"action": torch.tensor([action])}, batch_size=[1]))["next"] for action in plan]
    return torch.stack([step.clone() for step in steps])


@pytest.mark.parametrize("kind", GrowthConfig().blueprints)
def test_a_dud_leaves_its_host_as_it_is_to_the_last_bit_whatever_its_blueprint(nothing_takes, kind):
    number = nothing_takes.blueprints.index(kind)
    wait = (0, 0, 0)
    plan = [(Op.GERMINATE, 1, number)] + [wait] * 6 + [(Op.FOSSILIZE, 1, 0)] + [wait] * 4
    with_dud, without = play(nothing_takes, plan), play(nothing_takes, [wait] * 12)
    assert with_dud["info", "stage"][-1, 0, 1] == int(Stage.FOSSILIZED)
    for name in ("val_accuracy", "train_accuracy", "final_accuracy", "paid_accuracy"):
        assert torch.equal(with_dud["info", name], without["info", name])
    columns = [nothing_takes.feature_names.index(name) for name in ("train loss", "val loss", "contribution")]
    assert torch.equal(with_dud["observation"][..., columns], without["observation"][..., columns])
    assert (with_dud["info", "added_parameters"][-1] > 0).all()  # it is paid for all the same


@given(seed=st.integers(0, 2**62), germination=st.integers(0, 50))
def test_a_seed_of_the_family_is_a_dud_or_well(seed, germination):
    quality = make_family("duds", 8).seed_quality(seed, germination)
    assert quality.dead_share in (0.0, 1.0)
    assert 0.7 <= quality.lr_scale <= 1.4


def test_half_of_all_seeds_are_duds_and_the_hosts_are_those_of_mixed():
    duds, mixed = make_family("duds", 8), make_family("mixed", 8)
    assert duds.deficits == mixed.deficits
    assert [duds.deficit(seed) for seed in range(50)] == [mixed.deficit(seed) for seed in range(50)]
    dead = sum(duds.seed_quality(seed, 0).dead_share for seed in range(1000))
    assert abs(dead - 500) < 80  # five standard deviations of sqrt(1000 / 4) = 16
    assert make_family("duds:slow", 8).quality == HALF_DUDS
