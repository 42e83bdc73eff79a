from __future__ import annotations

import math

import pytest
import torch

from tamiyo_trl.objectives.value_norm import IdentityValueNorm, RunningValueNorm, fold, initialise, make_value_norm


def test_the_first_batch_sets_the_statistics_and_later_ones_move_them_by_a_debiased_average():
    norm = RunningValueNorm()
    norm.update(torch.tensor([[[1.0], [3.0]]]))  # mean 2, mean of squares 5, variance 1
    assert norm.normalize(torch.tensor([4.0])).item() == pytest.approx(2.0, abs=1e-4)  # (4 - 2) / 1
    norm.update(torch.tensor([[[5.0], [5.0]]]))
    # weights 0.99 and 1 over their sum 1.99: mean (0.99*2 + 5) / 1.99
    assert norm.denormalize(torch.tensor([0.0])).item() == pytest.approx((0.99 * 2 + 5) / 1.99, abs=1e-4)


def test_normalising_and_back_is_the_identity():
    norm = RunningValueNorm()
    norm.update(torch.randn(4, 5, 1) * 3 + 1)
    x = torch.randn(6, 1)
    assert torch.allclose(norm.denormalize(norm.normalize(x)), x, atol=1e-5)


def test_only_empty_statistics_are_initialised():
    norm = RunningValueNorm()
    initialise(norm, torch.tensor([[[1.0], [3.0]]]))
    before = norm.scale().clone()
    initialise(norm, torch.tensor([[[100.0], [300.0]]]))
    assert torch.equal(norm.scale(), before)


def test_a_return_that_is_not_finite_is_left_out():
    norm, clean = RunningValueNorm(), RunningValueNorm()
    fold(norm, torch.tensor([[[1.0], [math.nan], [3.0], [math.inf]]]))
    fold(clean, torch.tensor([[[1.0], [3.0]]]))
    assert torch.equal(norm.scale(), clean.scale())
    fold(norm, torch.full((1, 2, 1), math.nan))
    assert torch.equal(norm.scale(), clean.scale())


def test_equal_returns_do_not_blow_up():
    norm = RunningValueNorm()
    norm.update(torch.full((3, 4, 1), 5.0))
    assert norm.normalize(torch.tensor([5.0])).abs().item() < 1e-2


def test_none_leaves_everything_as_it_is():
    norm = make_value_norm("none")
    norm.update(torch.randn(3, 4, 1))
    x = torch.randn(3, 1)
    assert isinstance(norm, IdentityValueNorm)
    assert torch.equal(norm.normalize(x), x)
    assert torch.equal(norm.denormalize(x), x)
    assert norm.scale().item() == 1
