from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict

from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.objectives.slices import Slices, as_rows
from tests.reference.ppo import slow_slices

SIZES = {"rows": st.integers(1, 5), "steps": st.integers(1, 30), "length": st.integers(1, 40)}


def numbered(rows: int, steps: int) -> TensorDict:
    """Return rows whose every step carries its own number."""
    return TensorDict({"id": torch.arange(rows * steps).reshape(rows, steps)}, [rows, steps])


@given(**SIZES, minibatches=st.integers(1, 6), seed=st.integers(0, 9))
def test_minibatches_hold_every_step_exactly_once(rows, steps, length, minibatches, seed):
    slices = Slices(numbered(rows, steps), length)
    minibatches = min(minibatches, slices.count)
    seen = [
        part["id"].flatten()
        for parts in slices.minibatches(minibatches, torch.Generator().manual_seed(seed))
        for part in parts
    ]
    assert torch.cat(seen).sort().values.tolist() == list(range(rows * steps))


@given(**SIZES)
def test_slices_are_consecutive_steps_of_one_row_and_as_long_as_asked_but_for_the_last(rows, steps, length):
    slices = Slices(numbered(rows, steps), length)
    expected = [list(range(row * steps + a, row * steps + b)) for row, a, b in slow_slices(rows, steps, length)]
    assert slices.count == len(expected)
    found = [one for i in range(slices.count) for part in slices.take(torch.tensor([i])) for one in part["id"].tolist()]
    assert found == expected


@given(**SIZES, minibatches=st.integers(1, 6))
def test_no_minibatch_is_empty_and_their_slice_counts_differ_by_at_most_one(rows, steps, length, minibatches):
    slices = Slices(numbered(rows, steps), length)
    minibatches = min(minibatches, slices.count)
    counts = [sum(map(len, parts)) for parts in slices.minibatches(minibatches, torch.Generator())]
    assert len(counts) == minibatches
    assert min(counts) >= 1
    assert max(counts) - min(counts) <= 1


def test_twenty_five_steps_in_slices_of_eight_are_three_whole_slices_and_one_of_a_single_step():
    slices = Slices(numbered(2, 25), 8)
    parts = slices.take(torch.arange(8))
    assert [tuple(part.shape) for part in parts] == [(6, 8), (2, 1)]  # 2 rows x (3 x 8 + 1)
    assert parts[1]["id"].flatten().tolist() == [24, 49]


def test_a_slice_at_least_as_long_as_the_rollout_is_the_whole_row():
    for length in (25, 26, 1000):
        (part,) = Slices(numbered(2, 25), length).take(torch.arange(2))
        assert torch.equal(part["id"], torch.arange(50).reshape(2, 25))


def test_slices_shorter_than_one_step_are_refused():
    with pytest.raises(ConfigError, match="slice_len must be at least 1: 0"):
        Slices(numbered(1, 3), 0)


def test_more_minibatches_than_slices_are_refused_with_the_arithmetic():
    Slices.check(1, 25, 8, 4)  # 3 whole slices and a rest: 4
    with pytest.raises(ConfigError, match=r"5 > 4 \(1 rows of 25 steps in slices of 8\)"):
        Slices.check(1, 25, 8, 5)


@pytest.mark.parametrize(("shape", "rows"), [((7,), 1), ((3, 7), 3), ((2, 3, 7), 6)])
def test_any_batch_with_time_last_becomes_rows(shape, rows):
    steps = torch.arange(torch.Size(shape).numel()).reshape(shape)
    batch = TensorDict({"id": steps}, shape, names=[*[None] * (len(shape) - 1), "time"])
    assert torch.equal(as_rows(batch)["id"], steps.reshape(rows, 7))


def test_batches_that_are_no_rollouts_are_refused():
    with pytest.raises(SpecError, match="time must be the last"):
        as_rows(TensorDict({}, [7, 3], names=["time", None]))
    with pytest.raises(SpecError, match="at least one step"):
        as_rows(TensorDict({}, []))
    with pytest.raises(SpecError, match="at least one step"):
        as_rows(TensorDict({}, [3, 0]))
    with pytest.raises(SpecError, match="padded"):
        as_rows(TensorDict({("collector", "mask"): torch.ones(2, 3)}, [2, 3]))
