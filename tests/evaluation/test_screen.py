"""The screen a person plays on fits a terminal, gives every legal move one key, and says where each seed stands."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.envs.growth.actions import growth_actions
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation.screen import HELP, Situation, key_table, moves, screen
from tamiyo_trl.seeds import Stage

CONFIG = GrowthConfig(image_size=8)
EVERY = tuple(tuple(row) for row in growth_actions(len(CONFIG.sites), len(CONFIG.blueprints)).tolist())
START = Situation(
    step=0,
    accuracies=(0.1,),
    stages=(0, 0, 0),
    blueprints=(-1, -1, -1),
    ages=(0, 0, 0),
    alphas=(0.0, 0.0, 0.0),
    contribution=None,
    legal=EVERY,
)

GROWN = (Stage.TRAINING, Stage.BLENDING, Stage.HOLDING, Stage.FOSSILIZED)
SITES = st.tuples(st.sampled_from(GROWN), st.integers(0, len(CONFIG.blueprints) - 1)) | st.tuples(
    st.sampled_from((Stage.DORMANT, Stage.CULLED)), st.just(-1)
)


@settings(deadline=None, max_examples=40)
@given(
    accuracies=st.lists(st.floats(0, 1), min_size=1, max_size=26),
    sites=st.lists(SITES, min_size=3, max_size=3),
    alpha=st.floats(0, 1),
    worth=st.none() | st.floats(-1, 1),
)
def test_every_situation_fits_80_by_24(accuracies, sites, alpha, worth):
    situation = dataclasses.replace(
        START,
        step=len(accuracies) - 1,
        accuracies=tuple(accuracies),
        stages=tuple(int(stage) for stage, _ in sites),
        blueprints=tuple(kind for _, kind in sites),
        alphas=(alpha,) * 3,
        contribution=worth,
    )
    lines = screen(situation, CONFIG).splitlines()
    assert len(lines) <= 23  # one is left for the prompt
    assert max(map(len, lines)) <= 80


def test_the_help_fits_the_terminal():
    assert max(map(len, HELP.splitlines())) <= 81
    assert len(HELP.splitlines()) <= 22


def test_every_legal_action_has_one_key_and_no_key_two_actions():
    """FOSSILIZE and CULL stand for the one live seed, so of each at most one is legal at a time."""
    once = tuple(action for action in EVERY if action[0] < 2 or action[1] == 0)
    found = moves(dataclasses.replace(START, legal=once), CONFIG)
    assert sorted(found.values()) == sorted(once)
    assert {"w", "f", "c"} <= set(found)
    assert "h" not in found
    assert "q" not in found


def test_an_illegal_planting_shows_no_key():
    shown = screen(dataclasses.replace(START, legal=((0, 0, 0),)), CONFIG)
    assert "  norm         .  .  . " in shown
    assert "w wait (or Enter)   h help" in shown


def test_the_bar_of_a_seed_fills_with_its_alpha():
    half = dataclasses.replace(
        START,
        stages=(int(Stage.BLENDING), 0, 0),
        blueprints=(5, -1, -1),
        alphas=(0.5, 0, 0),
        ages=(3, 0, 0),
        contribution=0.021,
    )
    assert "site 0  wide        █████░░░░░ blending age 3  adds +2.1 points" in screen(half, CONFIG)


def test_the_curve_is_as_high_as_the_accuracy():
    lines = screen(dataclasses.replace(START, step=1, accuracies=(0.25, 0.5)), CONFIG).splitlines()
    # 50% is the top of five lines; 25% reaches half of the third.
    assert [line[5:9] for line in lines[1:6]] == ["  ██", "  ██", "▄▄██", "████", "████"]
    assert lines[1].startswith(" 50%|")


def test_more_plantings_than_keys_are_refused():
    many = GrowthConfig(image_size=16, channels=(8,) * 9, sites=tuple(range(9)))
    with pytest.raises(ConfigError, match="plantings have a key: 63"):
        key_table(many)
