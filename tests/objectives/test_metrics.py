from __future__ import annotations

import math

import pytest
import torch
from tensordict import TensorDict

from tamiyo_trl.objectives.loss import kl_estimate
from tamiyo_trl.objectives.metrics import Averages, StepLog, explained_variance, hidden_metrics


def test_explained_variance_worked_by_hand():
    target = torch.tensor([1.0, 2.0, 3.0, 4.0])  # variance 1.25
    value = torch.tensor([1.0, 2.0, 2.0, 3.0])  # errors 0 0 1 1, variance 0.25
    assert explained_variance(value, target).item() == pytest.approx(1 - 0.25 / 1.25)
    assert explained_variance(target, target).item() == 1
    assert explained_variance(torch.full((4,), 9.0), target).item() == 0  # a constant explains nothing
    assert math.isnan(explained_variance(torch.zeros(4), torch.ones(4)).item())


def test_averages_weigh_each_quantity_by_its_own_weights():
    averages = Averages()
    averages.add({"a": torch.tensor(1.0)}, weight=3)
    averages.add({"a": torch.tensor(5.0), "b": torch.tensor(2.0)}, weight=1)
    assert averages.result() == {"a": 2.0, "b": 2.0}  # (3*1 + 1*5) / 4
    assert Averages().result() == {}


def test_hidden_metrics_worked_by_hand():
    h, c = torch.tensor([0.0, 0.96, -0.97, 0.5]), torch.tensor([3.0, 0.0, 0.0, 0.0])
    rows = TensorDict({"h": h.reshape(1, 2, 1, 2), "c": c.reshape(1, 2, 1, 2)}, [1, 2])
    found = {name: value.item() for name, value in hidden_metrics(rows, ("h", "c")).items()}
    assert found["hidden/max"] == 3
    assert found["hidden/saturated"] == 0.5  # two of four outputs beyond 0.95
    assert found["hidden/rms"] == pytest.approx(math.sqrt((0.96**2 + 0.97**2 + 0.25 + 9) / 8))
    assert hidden_metrics(rows, ()) == {}


def test_the_kl_estimate_is_zero_only_at_equality_and_close_to_the_true_divergence():
    assert kl_estimate(torch.zeros(5)).item() == 0
    old, new = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.45, 0.3, 0.25])
    sampled = torch.multinomial(old, 200_000, replacement=True, generator=torch.Generator().manual_seed(0))
    estimated = kl_estimate((new.log() - old.log())[sampled])
    assert estimated.item() == pytest.approx((old * (old.log() - new.log())).sum().item(), rel=0.05)
    assert kl_estimate(torch.tensor([-0.3])).item() > 0


def test_the_divergence_reported_is_the_last_epoch_s_mean():
    steps = StepLog()
    steps.begin_epoch()
    steps.see(1.0)
    steps.begin_epoch()
    steps.see(0.2)
    steps.see(0.4)
    assert steps.result()["ppo/kl"] == pytest.approx(0.3)
