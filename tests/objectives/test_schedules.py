from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.objectives import LinearSchedule
from tamiyo_trl.objectives.schedules import bounds, value_at

NUMBERS = st.floats(-1e3, 1e3)


def test_a_linear_schedule_goes_from_start_to_end_and_stays():
    schedule = LinearSchedule(1.0, 0.2, frames=1000)
    assert value_at(schedule, 0) == 1.0
    assert value_at(schedule, 250) == pytest.approx(0.8)  # 1 - 0.25 * 0.8
    assert value_at(schedule, 1000) == pytest.approx(0.2)
    assert value_at(schedule, 10**9) == pytest.approx(0.2)


@given(start=NUMBERS, end=NUMBERS, frames=st.integers(1, 10**6), seen=st.integers(0, 10**7))
def test_a_schedule_never_leaves_its_bounds(start, end, frames, seen):
    schedule = LinearSchedule(start, end, frames)
    least, greatest = bounds(schedule)
    assert least - 1e-9 <= value_at(schedule, seen) <= greatest + 1e-9


def test_a_plain_number_is_constant():
    assert value_at(0.05, 0) == value_at(0.05, 10**9) == 0.05
    assert bounds(0.05) == (0.05, 0.05)


@pytest.mark.parametrize(
    ("settings", "message"), [((1.0, 0.0, 0), "frames"), ((math.nan, 0.0, 5), "start"), ((0.0, math.inf, 5), "end")]
)
def test_impossible_schedules_are_refused(settings, message):
    with pytest.raises(ConfigError, match=f"LinearSchedule.{message}"):
        LinearSchedule(*settings)
