"""The observation normaliser: exact statistics, changed by `update` alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_trl.policies.initialisation import orthogonal
from tamiyo_trl.policies.normaliser import Normaliser


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 999), st.sampled_from([1.0, 1e-3, 1e3]))
def test_batches_one_by_one_give_the_statistics_of_all_at_once(sizes: list[int], seed: int, scale: float) -> None:
    gen = torch.Generator().manual_seed(seed)
    batches = [scale * (torch.randn(n, 3, generator=gen) + 5) for n in sizes]
    normaliser = Normaliser(3)
    for batch in batches:
        normaliser.update(batch)
    together = torch.cat(batches).double()
    torch.testing.assert_close(normaliser.mean.double(), together.mean(0), rtol=1e-5, atol=0)
    expected = together.var(0, correction=0)
    torch.testing.assert_close(normaliser.var.double(), expected, rtol=1e-3, atol=1e-6 * scale**2)
    assert normaliser.count == len(together)


def test_forward_reads_and_never_writes() -> None:
    normaliser = Normaliser(2)
    normaliser.update(torch.randn(50, 2))
    before = {name: value.clone() for name, value in normaliser.state_dict().items()}
    normaliser.train()
    normaliser(torch.randn(30, 2))
    assert all(torch.equal(value, before[name]) for name, value in normaliser.state_dict().items())


def test_hand_worked_values() -> None:
    normaliser = Normaliser(1)
    assert normaliser(torch.tensor([[3.0], [-40.0]])).tolist() == [[3.0], [-10.0]]  # untouched but for the clip
    normaliser.update(torch.tensor([[1.0], [3.0]]))  # mean 2, variance 1
    assert normaliser(torch.tensor([[2.0], [5.0], [99.0]])).flatten().tolist() == pytest.approx([0.0, 3.0, 10.0])


def test_any_leading_shape_and_double_precision_are_taken() -> None:
    one, many = Normaliser(3), Normaliser(3)
    data = torch.randn(4, 5, 3, dtype=torch.float64)
    one.update(data)
    many.update(data.reshape(20, 3))
    assert torch.equal(one.mean, many.mean)
    assert one(data).shape == (4, 5, 3)
    assert one(data).dtype == torch.float32


def test_a_constant_feature_gives_zero() -> None:
    normaliser = Normaliser(2)
    normaliser.update(torch.tensor([[7.0, 1.0], [7.0, 2.0]]))
    assert normaliser(torch.tensor([[7.0, 1.5]])).tolist() == [[0.0, 0.0]]


def test_orthogonal_weights_have_the_asked_gain_and_no_bias() -> None:
    layer = orthogonal(torch.nn.Linear(6, 4), gain=0.3)
    torch.testing.assert_close(layer.weight @ layer.weight.T, 0.09 * torch.eye(4))
    assert not layer.bias.any()
