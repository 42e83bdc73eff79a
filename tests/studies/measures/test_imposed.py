"""Imposed seeds: the same for every controller, planted once, judged by what became of them."""

from __future__ import annotations

import numpy as np

from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.evaluation import Episode, rollout_episodes
from tamiyo_trl.policies.baselines import FixedSchedule, Planting, RandomLegal
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.measures.forks import Decision, GroundTruth
from tamiyo_trl.studies.measures.imposed import CullAtOnce, ImposedSeed, imposed_choice, judgements
from tests.evaluation.worlds import TINY


def test_every_controller_gets_the_same_seed_and_is_free_afterwards():
    plan = FixedSchedule(TINY, TINY.episode_steps, [Planting(0, 2, 6)])
    for policy in (RandomLegal(0), plan):
        steps = rollout_episodes(GrowthEnv(TINY, 2, seed=5), ImposedSeed(policy), 4)
        for item in steps:
            episode = Episode.read(item)
            assert (episode.action[:3] == 0).all()
            assert episode.action[3].tolist() == [Op.GERMINATE, *imposed_choice(episode.seed, 3, 7)]
            assert (episode.action[4:, 0] != Op.WAIT).any()


def test_truth_is_measured_for_every_imposed_seed_at_the_earliest_cull():
    env = GrowthEnv(TINY, 3, seed=5)
    truth = GroundTruth(env)
    episodes = [Episode.read(item) for item in rollout_episodes(env, ImposedSeed(CullAtOnce()), 3, watch=truth)]
    assert [decision.step for decision in truth.decisions] == [5, 5, 5]
    assert all(decision.age == TINY.lifecycle.min_cull_age for decision in truth.decisions)
    assert [item.verdict for item in judgements(episodes, truth.decisions)] == ["culled"] * 3


def test_verdicts_are_those_of_the_imposed_seed():
    """Hand-worked: a fossil and a cull at the imposed site, and a cull of another seed elsewhere."""

    def episode(seed: int, acts: dict[int, tuple[int, int, int]]) -> Episode:
        action = np.zeros((12, 3), dtype=int)
        for step, act in acts.items():
            action[step] = act
        blank = np.zeros(12)
        return Episode(seed, 0, 0.5, 0.0, 0.0, 1, 0, 0, blank, blank, blank, blank, action)

    plant = {3: (Op.GERMINATE, 1, 4)}
    episodes = [
        episode(7, plant | {10: (Op.FOSSILIZE, 1, 0)}),
        episode(8, plant | {6: (Op.CULL, 1, 0), 7: (Op.GERMINATE, 0, 0)}),
        episode(9, plant),
    ]
    truth = [
        Decision(seed, 0, 5, Op.CULL, 1, 4, 2, 2, 0.5 + worth, 0.5, True)
        for seed, worth in ((7, 0.1), (8, -0.2), (9, 0.0))
    ]
    found = [(item.verdict, item.step, round(item.worth, 6)) for item in judgements(episodes, truth)]
    assert found == [("fossilized", 10, 0.1), ("culled", 6, -0.2), ("neither", 12, 0.0)]
