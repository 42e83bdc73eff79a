"""Evaluation: exact on any number of images, counterfactuals equal to a second pass, the committed network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tamiyo_trl.hosts import Evaluation, Fleet, HostConfig, engines
from tests.reference.fleet_history import PlainLife, draw_life, enter_epoch, run_epoch

pytestmark = pytest.mark.slow

CONFIG = HostConfig(image_size=8, channels=(8, 16, 8))


def grown_fleet(seed: int, n_hosts: int, engine: str) -> tuple[Fleet, Tensor, Tensor]:
    """Return a fleet that has lived a little, its alpha [N, S] and where seeds are present [N, S]."""
    fleet = Fleet(CONFIG, n_hosts, engine=engine)
    lives = [draw_life(seed + e, CONFIG, 3) for e in range(n_hosts)]
    for t in range(3):
        enter_epoch(fleet, lives, t)
        run_epoch(fleet, lives, t, pool=16, batch_size=8, lr=0.05)
    return fleet, torch.tensor([life[2].alpha for life in lives]), fleet.parameter_counts() > 0


def draw_images(n_hosts: int, count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n_hosts, count, 3, 8, 8), torch.randint(0, 10, (n_hosts, count))


@pytest.mark.parametrize("engine", ["grouped", "looped"])
@given(seed=st.integers(0, 10**6), n_hosts=st.integers(1, 4))
@settings(max_examples=8)
def test_the_counterfactual_equals_a_second_pass_with_the_live_seed_switched(
    engine: str, seed: int, n_hosts: int
) -> None:
    fleet, alpha, present = grown_fleet(seed, n_hosts, engine)
    rng = torch.Generator().manual_seed(seed)
    incubating = torch.rand(n_hosts, 3, generator=rng) < 0.4
    live = torch.tensor([next((s for s in torch.randperm(3, generator=rng).tolist() if row[s]), -1) for row in present])
    images, labels = draw_images(n_hosts, 20)
    fleet.set_blend(alpha, incubating)
    result = fleet.evaluate(images, labels, live)
    switched_alpha, switched_incubating = alpha.clone(), incubating.clone()
    for e in range(n_hosts):
        if live[e] >= 0:
            switched_alpha[e, live[e]] = float(incubating[e, live[e]])  # off, or fully on if it incubated
            switched_incubating[e, live[e]] = False
    fleet.set_blend(switched_alpha, switched_incubating)
    second = fleet.evaluate(images, labels, torch.full((n_hosts,), -1))
    torch.testing.assert_close(result.counterfactual_loss, second.loss)
    torch.testing.assert_close(result.counterfactual_accuracy, second.accuracy)
    none = live < 0
    assert torch.equal(result.counterfactual_loss[none], result.loss[none])
    assert torch.equal(second.counterfactual_accuracy, second.accuracy)


@pytest.mark.parametrize("engine", ["grouped", "looped"])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=6)
def test_the_committed_network_equals_the_fleet_without_the_other_seeds(engine: str, seed: int) -> None:
    fleet, alpha, present = grown_fleet(seed, 3, engine)
    fleet.set_blend(alpha, torch.zeros(3, 3, dtype=torch.bool))
    keep = torch.rand(3, 3, generator=torch.Generator().manual_seed(seed)) < 0.5
    images, labels = draw_images(3, 20)
    committed = fleet.evaluate_committed(images, labels, keep)
    for host, site in (present & ~keep).nonzero().tolist():
        fleet.remove(host, site)
    without = fleet.evaluate(images, labels, torch.full((3,), -1))
    torch.testing.assert_close(committed.loss, without.loss)
    assert torch.equal(committed.accuracy, without.accuracy)


@pytest.mark.parametrize("count", [1, 15, 16, 19, 50])
def test_every_image_counts_once_whatever_their_number(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CACHE_BYTES", 1)
    assert Fleet(CONFIG, 2).engine.evaluation_chunk == 16
    fleet, _, _ = grown_fleet(3, 2, "grouped")
    images, labels = draw_images(2, count)
    whole = fleet.evaluate(images, labels, torch.full((2,), -1))
    none = torch.full((2,), -1)
    single = [fleet.evaluate(images[:, i : i + 1], labels[:, i : i + 1], none) for i in range(count)]
    torch.testing.assert_close(whole.loss, torch.stack([s.loss for s in single]).mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole.accuracy, torch.stack([s.accuracy for s in single]).mean(0))


def test_it_changes_nothing_and_equals_the_plain_host() -> None:
    fleet, lives = Fleet(CONFIG, 2), [draw_life(e, CONFIG, 1) for e in range(2)]
    enter_epoch(fleet, lives, 0)
    plain = [PlainLife(CONFIG, torch.float32) for _ in lives]
    before = fleet.state_dict()
    images, labels = draw_images(2, 30)
    live = torch.tensor([life[0].live for life in lives])
    result: Evaluation = fleet.evaluate(images, labels, live)
    after = fleet.state_dict()
    assert all(torch.equal(t, after["hosts"][name]) for name, t in before["hosts"].items())
    for e, twin in enumerate(plain):
        twin.enter_epoch(fleet, e, lives[e][0])
        loss, accuracy = twin.trainer.measure(images[e], labels[e])
        assert result.loss[e].item() == pytest.approx(loss, rel=1e-4)
        assert result.accuracy[e].item() == pytest.approx(accuracy)
        if live[e] >= 0:
            other, _ = twin.trainer.measure(images[e], labels[e], switched=int(live[e]))
            assert result.counterfactual_loss[e].item() == pytest.approx(other, rel=1e-4)
