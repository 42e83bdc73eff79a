"""Episode logs hold all that reports read, and stages follow from actions as the environment made them."""

from __future__ import annotations

import numpy as np

from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.evaluation import evaluate
from tamiyo_trl.evaluation.episode_log import actions_text, read_log, write_log
from tamiyo_trl.policies.baselines import FixedSchedule, Planting, RandomLegal
from tests.evaluation.worlds import TINY


def test_a_log_gives_back_the_episodes(tmp_path):
    plan = FixedSchedule(TINY, TINY.episode_steps, [Planting(2, 1, 5)])
    episodes = evaluate(GrowthEnv(TINY, 3, seed=6), RandomLegal(3), 3)
    episodes += evaluate(GrowthEnv(TINY, 2, seed=7), plan, 2)
    assert sum(episode.culled for episode in episodes) > 0
    assert sum(episode.fossilized for episode in episodes) > 0
    write_log(tmp_path / "log.csv", episodes)
    again = read_log(tmp_path / "log.csv", TINY)
    for one, other in zip(episodes, again, strict=True):
        for name in ("seed", "deficit", "germinated", "fossilized", "culled", "added_parameters"):
            assert getattr(one, name) == getattr(other, name), name
        for name in ("action", "stage", "blueprint", "alpha"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert np.allclose(one.val_accuracy, other.val_accuracy, atol=5e-5)
        assert abs(one.final_accuracy - other.final_accuracy) < 1e-6
        assert abs(one.reward - other.reward) < 1e-4


def test_actions_are_written_as_said(tmp_path):
    (episode,) = evaluate(GrowthEnv(TINY, 1, seed=6), RandomLegal(3), 1)
    action = np.zeros_like(episode.action)
    action[2], action[5], action[7] = (1, 2, 6), (3, 2, 0), (1, 0, 1)
    vars(episode)["action"] = action
    assert actions_text(episode) == "2G2.6 5C2 7G0.1"
