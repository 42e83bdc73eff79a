"""Scripts do what they know to be right, by hand-made plan tables; the wanderer stays legal."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation.rollout import Episode, rollout_episodes
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.demand.knowledge import Either, Ignorant, Known
from tamiyo_trl.studies.demand.plans import NEVER, PlanTable, single_plans
from tamiyo_trl.studies.demand.scripts import Script, Wanderer
from tamiyo_trl.studies.demand.worlds import WORLDS, free_world, make_world

BASE = GrowthConfig(
    image_size=8,
    observation="minimal",
    blueprints=("norm", "wide"),
    splits=SplitSizes(train=64, val=16, test=32, reward=16),
    training=HostTrainingConfig(images_per_step=32),
    episode_steps=16,
)
HOSTS = 12

# Deficits: contrast, slow, stuck1, noisy labels. The third plan is best under `slow`, the second otherwise.
TABLE = PlanTable((NEVER, "wide@0", "norm@2"), np.array([[0.1] * 4, [0.5, 0.2, 0.5, 0.5], [0.2, 0.6, 0.2, 0.2]]))


def play(config: GrowthConfig, controller, seed: int = 5) -> tuple[GrowthEnv, list[Episode]]:
    env = GrowthEnv(config, HOSTS, seed)
    return env, [Episode.read(steps) for steps in rollout_episodes(env, controller, HOSTS)]


def planted(episode: Episode) -> list[tuple[int, int]]:
    return [(int(site), int(kind)) for op, site, kind in episode.action if op == Op.GERMINATE]


def qualities(env: GrowthEnv, episode: Episode) -> list[float]:
    return [env.world.episodes.family.seed_quality(episode.seed, n).dead_share for n in range(episode.germinated)]


@pytest.fixture(scope="module")
def duds() -> GrowthConfig:
    return make_world("duds", BASE)


def test_the_planter_plants_what_its_hosts_deficit_asks_for_and_keeps_whatever_it_is(duds):
    _, episodes = play(duds, Script(duds, TABLE, Either(Known(duds), Ignorant(duds))))
    assert {episode.deficit for episode in episodes} > {1}
    for episode in episodes:
        assert planted(episode) == ([(2, 0)] if episode.deficit == 1 else [(0, 1)])
        assert (episode.fossilized, episode.culled) == (1, 0)


def test_the_culler_plants_what_is_best_for_all_until_a_seed_takes(duds):
    env, episodes = play(duds, Script(duds, TABLE, Either(Ignorant(duds), Known(duds))))
    assert sum(episode.culled for episode in episodes) > 0
    for episode in episodes:
        assert set(planted(episode)) == {(0, 1)}  # the best mean: 0.425 against 0.3
        dead = qualities(env, episode)
        assert dead[: episode.culled] == [1.0] * episode.culled  # it culled duds and nothing else
        kept = [n for n in range(episode.germinated) if dead[n] == 0.0]
        assert episode.fossilized == len(kept) <= 1
        if episode.culled:
            first, cull = (episode.action[:, 0].tolist().index(op) for op in (Op.GERMINATE, Op.CULL))
            assert cull - first == duds.lifecycle.min_cull_age


def test_two_seeds_of_a_plan_are_planted_one_after_another_unless_one_may_be_kept(duds):
    table = PlanTable((NEVER, "wide@0", "wide@0 norm@2"), np.array([[0.1] * 4, [0.2] * 4, [0.3] * 4]))
    known = Either(Known(duds), Ignorant(duds))
    _, episodes = play(duds, Script(duds, table, known))
    assert all(planted(episode) == [(0, 1), (2, 0)] for episode in episodes)
    one = make_world("duds-keep1", BASE)
    _, episodes = play(one, Script(one, table, Either(Known(one), Ignorant(one))))
    assert all(planted(episode) == [(0, 1)] for episode in episodes)


def test_a_script_that_waits_plants_nothing_before_its_step(duds):
    _, episodes = play(duds, Script(duds, TABLE, Ignorant(duds), plant_from=3))
    for episode in episodes:
        assert episode.action[:3, 0].tolist() == [0, 0, 0]
        assert episode.action[3, 0] == Op.GERMINATE


def test_beliefs_weigh_plans_by_how_likely_each_deficit_is():
    config = make_world("mixed", BASE)
    assert TABLE.best == 1
    assert TABLE.within(1).names == TABLE.names
    weighed = torch.tensor([0.2, 0.4, 0.2, 0.2]) @ torch.from_numpy(TABLE.values).float().T
    # 0.6 * 0.5 + 0.4 * 0.2 = 0.38 for the second, 0.6 * 0.2 + 0.4 * 0.6 = 0.36 for the third.
    assert weighed.tolist() == pytest.approx([0.1, 0.38, 0.36])
    assert Ignorant(config).read(GrowthEnv(config, 2).reset())[0].tolist() == [[0.25] * 4] * 2


def test_the_wanderer_is_legal_and_shows_kept_and_culled_seeds(duds):
    _, episodes = play(duds, Wanderer(duds, [(0, 1), (2, 0)], seed=1))
    ops = np.concatenate([episode.action[:, 0] for episode in episodes])
    assert {Op.GERMINATE, Op.FOSSILIZE, Op.CULL} <= set(ops.tolist())
    assert {item for episode in episodes for item in planted(episode)} == {(0, 1), (2, 0)}
    again = play(duds, Wanderer(duds, [(0, 1), (2, 0)], seed=1))[1]
    assert all((a.action == b.action).all() for a, b in zip(episodes, again))


def test_the_best_pairs_are_of_seeds_at_different_sites():
    values = np.array([[0.1] * 4, [0.5, 0.2, 0.5, 0.5], [0.2, 0.6, 0.2, 0.2], [0.2, 0.2, 0.55, 0.2]])
    table = PlanTable((NEVER, "wide@0", "norm@2", "norm@0"), values)
    assert set(table.pairs()) == {"wide@0 norm@2", "norm@2 wide@0", "norm@0 norm@2", "norm@2 norm@0"}


@pytest.mark.parametrize("name", WORLDS)
def test_worlds_differ_from_their_familys_free_world_in_what_they_are_named_for(name):
    config, free = make_world(name, BASE), free_world(name, BASE)
    assert config.family == free.family == name.partition("-")[0].replace("noisy", "mixed").replace("rare", "mixed")
    assert config.privileged
    assert ("keep1" in name) == (config.max_kept == 1)
    assert ("noisy" in name) == (config.splits.val < BASE.splits.val)
    assert ("rare" in name) == (config.val_every > 1)
    alike = dataclasses.replace(config, max_kept=None, val_every=1)
    assert alike == dataclasses.replace(free, splits=alike.splits)
    assert free.splits.reward == 0


def test_plans_of_unknown_blueprints_are_refused():
    assert single_plans(BASE, ["wide"]) == [NEVER, "wide@0", "wide@1", "wide@2"]
    with pytest.raises(ConfigError, match="made of norm, wide; got lossy"):
        single_plans(BASE, ["wide", "lossy"])
