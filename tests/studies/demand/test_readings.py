"""Readings are of held-out episodes; a fact that only the past tells is read from the past alone."""

from __future__ import annotations

import numpy as np
import pytest

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.studies.demand.readings import LAGS, Log, episode_so_far, fit_reading, one_observation
from tamiyo_trl.studies.demand.summary import readability

STEPS = 8


@pytest.fixture(scope="module")
def log() -> Log:
    """The first step's second column tells the deficit, the change of the first column whether the seed is good."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(60, STEPS, 2)).astype(np.float32)
    deficit = rng.integers(0, 3, 60)
    seen[:, 0, 1] = deficit
    good = np.zeros((60, STEPS), dtype=bool)
    good[:, 1:] = seen[:, 1:, 0] > seen[:, :-1, 0]
    return Log(seen, deficit, np.tile(np.arange(STEPS) - 1, (60, 1)), good)


def test_views_hold_what_they_say():
    seen = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    at = np.array([0, 2])
    assert one_observation(seen, at).tolist() == [[0, 1, 2], [18, 19, 20]]
    columns = episode_so_far(seen, at).reshape(2, -1, 3)
    assert columns.shape[1] == LAGS + 1 + 3 + 1
    assert columns[0, 0].tolist() == [0, 1, 2]
    assert (columns[0, 1 : LAGS + 1] == 0).all()  # nothing before the beginning
    assert columns[1, :3].tolist() == [[18, 19, 20], [15, 16, 17], [12, 13, 14]]
    assert columns[1, LAGS + 1].tolist() == [12, 13, 14]  # the first step
    assert columns[1, -1].tolist() == [15, 16, 17]  # the mean of 12, 15, 18 and so on


def test_what_comes_after_is_never_read():
    seen = np.random.default_rng(1).normal(size=(5, 6, 3))
    at = np.array([0, 1, 2, 3, 4])
    later = seen.copy()
    for host, step in enumerate(at):
        later[host, step + 1 :] = 99.0
    for view in (one_observation, episode_so_far):
        assert np.array_equal(view(seen, at), view(later, at))


@pytest.mark.parametrize("fact", ["deficit", "good seed"])
def test_a_fact_that_the_past_tells_is_read_from_the_episode_so_far_alone(log, fact):
    now, past = (fit_reading(log, fact, view) for view in (one_observation, episode_so_far))
    rows = readability(log, {(fact, "one observation"): now, (fact, "episode so far"): past})
    last = {row["view"]: row for row in rows if row["at"] == STEPS - 2}
    assert last["episode so far"]["accuracy"] > last["one observation"]["accuracy"] + 0.2
    assert past.loss < now.loss - 0.2


def test_a_reading_of_noise_is_no_better_than_the_share_of_each_value(log):
    rng = np.random.default_rng(2)
    noise = Log(rng.normal(size=log.seen.shape).astype(np.float32), log.deficit, log.age, log.good)
    reading = fit_reading(noise, "deficit", episode_so_far)
    assert reading.loss > np.log(3) - 0.05  # held out: what is learned by heart does not count


def test_a_fact_that_never_differs_cannot_be_read(log):
    same = Log(log.seen, np.zeros_like(log.deficit), log.age, log.good)
    with pytest.raises(ConfigError, match="in which it differs"):
        fit_reading(same, "deficit", one_observation)
    with pytest.raises(ConfigError, match="must be one of deficit, good seed; got 'weather'"):
        log.rows("weather")
