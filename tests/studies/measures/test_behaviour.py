"""What controllers do, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tamiyo_trl.evaluation import Episode
from tamiyo_trl.studies.measures.behaviour import Life, adaptation, behaviour, seed_lives


def episode(acts: dict[int, tuple[int, int, int]], deficit: int = 0) -> Episode:
    action = np.zeros((12, 3), dtype=int)
    for step, act in acts.items():
        action[step] = act
    blank = np.zeros(12)
    return Episode(0, deficit, 0.5, 0.0, 0.0, 0, 0, 0, blank, blank, blank, blank, action)


# Plants (site 1, kind 4) at 1 and culls it at 4; repeats it at 6 and culls it at 8; plants (2, 4) at 9.
STUBBORN = episode({1: (1, 1, 4), 4: (3, 1, 0), 6: (1, 1, 4), 8: (3, 1, 0), 9: (1, 2, 4)})
# Plants (site 0, kind 5) at 3 and keeps it at 10.
STEADY = episode({3: (1, 0, 5), 10: (2, 0, 0)}, deficit=1)


def test_lives_are_read_from_the_actions():
    assert seed_lives(STUBBORN) == [
        Life(1, 4, 1, 4, "culled"),
        Life(1, 4, 6, 8, "culled"),
        Life(2, 4, 9, 12, "neither"),
    ]
    assert seed_lives(STEADY) == [Life(0, 5, 3, 10, "fossilized")]


def test_repeats_count_germinations_after_a_cull():
    """Two germinations follow a cull: one repeats the culled (blueprint, site), both the culled blueprint."""
    found = behaviour([STUBBORN, STEADY])
    assert (found.planted, found.fossilized, found.culled) == (2.0, 0.5, 1.0)
    assert found.first_step == 2.0
    assert found.cull_age == pytest.approx((3 + 2) / 2)
    assert (found.replants, found.repeats, found.repeats_blueprint) == (2, 0.5, 1.0)
    assert dict(found.first_choices) == {(4, 1): 0.5, (5, 0): 0.5}
    assert dict(found.orders) == {((4, 1), (4, 1), (4, 2)): 0.5, ((5, 0),): 0.5}


def test_nothing_done_is_nothing_measured():
    found = behaviour([episode({})])
    assert (found.planted, found.replants) == (0.0, 0)
    assert np.isnan([found.first_step, found.cull_age, found.repeats]).all()


def test_adaptation_is_the_information_about_the_deficit():
    """Two deficits, each with a choice of its own, 20 times: one bit. The same choices whatever the deficit: none."""
    own = [STUBBORN, STEADY] * 20
    assert 0.9 < adaptation(own) <= 1.0
    rng = np.random.default_rng(3)
    blind = [episode({3: (1, 0, int(kind))}, number % 2) for number, kind in enumerate(rng.integers(0, 7, 40))]
    assert abs(adaptation(blind)) < 0.15
    same = [episode({3: (1, 0, 5)}, deficit) for deficit in (0, 1)]
    assert adaptation(same) == pytest.approx(0.0)
    assert adaptation([*own, *blind]) < adaptation(own)
