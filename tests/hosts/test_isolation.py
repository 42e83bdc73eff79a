"""A host's numbers are a function of its own births and inputs: what happens to others changes no bit of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tamiyo_trl.hosts import Fleet, HostBirth, HostConfig
from tamiyo_trl.seeds.blueprints import BLUEPRINTS, SeedBirth
from tests.reference.fleet_history import Epoch, draw_life, enter_epoch, run_epoch, whole_state

pytestmark = pytest.mark.slow

TINY = HostConfig(image_size=8, channels=(8, 16, 32))  # its last map is one pixel
CONFIGS = (TINY, HostConfig(image_size=12, channels=(24, 8, 16), downsample=("pool", "stride", "none")))
EPOCHS = 4


def life_of(host: int, lives: list[list[Epoch]], config: HostConfig, engine: str) -> list[dict[str, Tensor]]:
    """Return everything that is reported of and stored for one host of a fleet, epoch by epoch."""
    fleet, seen = Fleet(config, len(lives), engine=engine), []
    for t in range(EPOCHS):
        enter_epoch(fleet, lives, t)
        report = run_epoch(fleet, lives, t, pool=37, batch_size=16, lr=0.05)
        seen.append({name: value[host] for name, value in report.items()} | whole_state(fleet, host))
    return seen


def assert_same_bits(first: list[dict[str, Tensor]], second: list[dict[str, Tensor]]) -> None:
    for a, b in zip(first, second):
        assert a.keys() == b.keys()
        different = [name for name in a if not torch.equal(a[name], b[name])]
        assert not different


@pytest.mark.parametrize("engine", ["grouped", "looped"])
@given(
    seed=st.integers(0, 10**6),
    config=st.sampled_from(CONFIGS),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    place=st.tuples(st.integers(0, 8), st.integers(0, 8)),
)
@settings(max_examples=8)
def test_neighbours_and_their_number_change_no_bit_of_a_host(
    engine: str, seed: int, config: HostConfig, sizes: tuple[int, int], place: tuple[int, int]
) -> None:
    own, runs = draw_life(seed, config, EPOCHS), []
    for which, (size, at) in enumerate(zip(sizes, place)):
        lives = [draw_life(seed + 1 + 100 * which + e, config, EPOCHS, poison=True) for e in range(size)]
        lives[at % size] = own
        runs.append(life_of(at % size, lives, config, engine))
    assert_same_bits(*runs)


@given(seed=st.integers(0, 10**6), members=st.integers(1, 7))
@settings(max_examples=10)
def test_the_number_of_seeds_in_a_bank_changes_no_bit_of_a_seed(seed: int, members: int) -> None:
    def grown(count: int, name: str) -> dict[str, Tensor]:
        fleet = Fleet(TINY, 8, engine="grouped")
        fleet.reset(range(8), [HostBirth(seed + e) for e in range(8)])
        for e in range(count):
            fleet.germinate(7 - e, 1, SeedBirth(name, seed + e))
        fleet.set_blend(torch.full((8, 3), 0.5), torch.zeros(8, 3, dtype=torch.bool))
        rng = torch.Generator().manual_seed(seed)
        images, labels = torch.randn(8, 16, 3, 8, 8, generator=rng), torch.randint(0, 10, (8, 16), generator=rng)
        fleet.train_step(images, labels, torch.full((8,), 0.05))
        return whole_state(fleet, 7)

    for name in BLUEPRINTS:
        assert_same_bits([grown(1, name)], [grown(members, name)])


@pytest.mark.parametrize("engine", ["grouped", "looped"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["images", "weights", "seed weights", "momentum", "gradients"])
def test_a_non_finite_host_is_reported_at_once_frozen_and_touches_nobody(engine: str, bad: float, where: str) -> None:
    def run(inject: bool) -> tuple[Fleet, list[Tensor]]:
        fleet, finite = Fleet(TINY, 5, engine=engine), []
        fleet.reset(range(5), [HostBirth(e) for e in range(5)])
        for e, name in enumerate(("conv_heavy", "norm", "wide", "norm", "attention")):
            fleet.germinate(e, 1, SeedBirth(name, e))
        fleet.set_blend(torch.full((5, 3), 0.5), torch.zeros(5, 3, dtype=torch.bool))
        rng = torch.Generator().manual_seed(0)
        for step in range(4):
            images, labels = torch.randn(5, 16, 3, 8, 8, generator=rng), torch.randint(0, 10, (5, 16), generator=rng)
            if inject and step == 1:
                state = fleet.state_dict()
                seeds = {b["blueprint"]: b["rows"] for b in state["banks"]}
                if where == "images":
                    images[1, 3, 0, 2] = bad
                elif where == "weights":
                    state["hosts"]["values"][1, 40] = bad
                elif where == "seed weights":
                    seeds["norm"]["values"][0, 3] = bad
                elif where == "momentum":
                    state["hosts"]["momentum"][1, 40] = bad
                else:  # a finite loss whose gradient overflows
                    seeds["norm"]["values"][0, -1] = 0.0
                    seeds["norm"]["values"][0, 0] = 1e37
                fleet.load_state_dict(state)
            fleet.train_step(images, labels, torch.full((5,), 0.05))
            finite.append(fleet.finite.clone())
            if inject and step == 1:
                frozen.update(whole_state(fleet, 1))
        return fleet, finite

    frozen: dict[str, Tensor] = {}
    healthy, _ = run(False)
    sick, finite = run(True)
    expected = [[True] * 5, *[[True, False, True, True, True]] * 3]
    assert [f.tolist() for f in finite] == expected
    for host in (0, 2, 3, 4):
        assert_same_bits([whole_state(healthy, host)], [whole_state(sick, host)])
    last = whole_state(sick, 1)
    for name in frozen:
        if name.endswith((".values", ".momentum")):
            torch.testing.assert_close(last[name], frozen[name], rtol=0, atol=0, equal_nan=True)
    sick.reset([1], [HostBirth(77)])
    assert sick.finite.all()


def test_an_evaluation_of_a_frozen_host_leaves_the_others_alone() -> None:
    fleet = Fleet(TINY, 3, engine="grouped")
    fleet.reset(range(3), [HostBirth(e) for e in range(3)])
    images, labels = torch.randn(3, 20, 3, 8, 8), torch.randint(0, 10, (3, 20))
    before = fleet.evaluate(images, labels, torch.full((3,), -1))
    state = fleet.state_dict()
    state["hosts"]["values"][1] = math.nan
    fleet.load_state_dict(state)
    after = fleet.evaluate(images, labels, torch.full((3,), -1))
    assert torch.equal(before.loss[[0, 2]], after.loss[[0, 2]])
    assert after.loss[1].isnan()
