"""A fleet's state is data: what is saved, loaded, forked or selected goes on with the same numbers, to the last bit."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_trl.errors import CheckpointError, ConfigError
from tamiyo_trl.hosts import Fleet, HostBirth, HostConfig
from tamiyo_trl.seeds.blueprints import SeedBirth
from tests.reference.fleet_history import Epoch, draw_life, enter_epoch, run_epoch, whole_state

CONFIG = HostConfig(image_size=8, channels=(8, 16), downsample=("pool", "none"))
HALF, EPOCHS = 2, 4


def play(fleet: Fleet, lives: list[list[Epoch]], epochs: range) -> dict[str, torch.Tensor]:
    report: dict[str, torch.Tensor] = {}
    for t in epochs:
        enter_epoch(fleet, lives, t)
        report = run_epoch(fleet, lives, t, pool=20, batch_size=8, lr=0.05)
    return report


def assert_equal_hosts(first: Fleet, a: int, second: Fleet, b: int) -> None:
    one, other = whole_state(first, a), whole_state(second, b)
    assert one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("engine", ["grouped", "looped"])
@given(seed=st.integers(0, 10**6), n_hosts=st.integers(1, 4), copies=st.integers(1, 4))
@settings(max_examples=6)
def test_a_forked_host_with_equal_later_decisions_goes_on_with_equal_numbers(
    engine: str, seed: int, n_hosts: int, copies: int
) -> None:
    lives = [draw_life(seed + e, CONFIG, EPOCHS) for e in range(n_hosts)]
    fleet = Fleet(CONFIG, n_hosts, engine=engine)
    play(fleet, lives, range(HALF))
    picked = [random.Random(seed).randrange(n_hosts) for _ in range(copies)]
    fork = fleet.fork(picked)
    before = [whole_state(fleet, e) for e in range(n_hosts)]
    forked = play(fork, [lives[e] for e in picked], range(HALF, EPOCHS))
    for e, kept in enumerate(before):  # the original is untouched
        assert all(torch.equal(t, kept[name]) for name, t in whole_state(fleet, e).items())
    original = play(fleet, lives, range(HALF, EPOCHS))
    for i, e in enumerate(picked):
        assert_equal_hosts(fork, i, fleet, e)
        assert all(torch.equal(forked[name][i], original[name][e]) for name in original)


@pytest.mark.parametrize("engine", ["grouped", "looped"])
def test_a_loaded_state_goes_on_with_equal_numbers_after_a_trip_through_a_file(engine: str) -> None:
    lives = [draw_life(e, CONFIG, EPOCHS) for e in range(4)]
    fleet = Fleet(CONFIG, 4, engine=engine)
    play(fleet, lives, range(HALF))
    file = io.BytesIO()
    torch.save(fleet.state_dict(), file)
    file.seek(0)
    other = Fleet(CONFIG, 4, engine=engine)
    play(other, [draw_life(9 + e, CONFIG, 1) for e in range(4)], range(1))
    other.load_state_dict(torch.load(file, weights_only=True))
    play(fleet, lives, range(HALF, EPOCHS))
    play(other, lives, range(HALF, EPOCHS))
    for e in range(4):
        assert_equal_hosts(fleet, e, other, e)


def test_a_saved_state_does_not_change_when_the_fleet_trains_on() -> None:
    fleet = Fleet(CONFIG, 2)
    lives = [draw_life(e, CONFIG, EPOCHS) for e in range(2)]
    play(fleet, lives, range(1))
    state = fleet.state_dict()
    values = state["hosts"]["values"].clone()
    play(fleet, lives, range(1, 2))
    assert torch.equal(state["hosts"]["values"], values)


def _other_size(state: dict[str, Any]) -> None:
    state["hosts"]["values"] = state["hosts"]["values"][:, :-1]


def _missing(state: dict[str, Any]) -> None:
    del state["banks"]


def _unknown_blueprint(state: dict[str, Any]) -> None:
    state["banks"][0]["blueprint"] = "orchid"


def _foreign_host(state: dict[str, Any]) -> None:
    state["banks"][0]["hosts"] = [7]


def _no_alpha(state: dict[str, Any]) -> None:
    del state["alpha"]


@pytest.mark.parametrize("damage", [_other_size, _missing, _unknown_blueprint, _foreign_host, _no_alpha])
def test_a_damaged_or_foreign_state_is_refused_and_changes_nothing(damage: Callable[[dict[str, Any]], None]) -> None:
    fleet = Fleet(CONFIG, 2)
    fleet.reset([0, 1], [HostBirth(0), HostBirth(1)])
    fleet.germinate(1, 0, SeedBirth("wide", 3))
    state, before = fleet.state_dict(), [whole_state(fleet, e) for e in range(2)]
    damage(state)
    with pytest.raises(CheckpointError):
        fleet.load_state_dict(state)
    for e in range(2):
        assert all(torch.equal(t, before[e][name]) for name, t in whole_state(fleet, e).items())


def test_select_refuses_repeats_and_fork_refuses_nothing() -> None:
    fleet = Fleet(CONFIG, 3)
    assert fleet.select([2, 0]).n_hosts == 2
    with pytest.raises(ConfigError, match="each host once"):
        fleet.select([1, 1])
    with pytest.raises(ConfigError, match="at least one"):
        fleet.fork([])
    with pytest.raises(ConfigError, match=r"0\.\.2"):
        fleet.fork([3])
