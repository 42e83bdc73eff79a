"""A germinated seed has the hidden quality of its number in its episode, whatever it is, wherever and whenever."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.seeds.lifecycle import Op


def planted(config: GrowthConfig, plan: list[tuple[int, int, int]]) -> tuple[int, list[float], list[torch.Tensor]]:
    """Play a plan on one host; return its episode's seed, and each planted seed's learning rate factor and weights."""
    env = GrowthEnv(config, n_envs=1, seed=4)
    tensordict = env.reset()
    rates, weights = [], []
    for action in plan:
        tensordict = env.step_mdp(env.step(TensorDict({"action": torch.tensor([action])}, batch_size=[1])))
        if action[0] == Op.GERMINATE:
            (bank,) = env.world.fleet.state_dict()["banks"]
            rates.append(float(bank["rows"]["lr_scale"]))
            weights.append(bank["rows"]["values"].clone())
    return int(tensordict["info", "episode_seed"]), rates, weights


def test_each_germination_has_its_own_quality_and_only_its_number_decides(tiny):
    wide, norm = tiny.blueprints.index("wide"), tiny.blueprints.index("norm")
    twice = [(1, 0, wide), (0, 0, 0), (3, 0, 0), (1, 0, wide)]
    seed, rates, weights = planted(tiny, twice)
    family = GrowthEnv(tiny, n_envs=1).world.episodes.family
    expected = [family.seed_quality(seed, number).lr_scale for number in (0, 1)]
    assert rates == pytest.approx(expected, rel=1e-6)
    assert expected[0] != expected[1]
    assert not torch.equal(*weights)
    # Other blueprints at other sites, later: the first and the second seed have the same qualities.
    otherwise = [(0, 0, 0), (1, 2, norm), (0, 0, 0), (0, 0, 0), (3, 2, 0), (0, 0, 0), (1, 1, wide)]
    assert planted(tiny, otherwise)[:2] == (seed, rates)
