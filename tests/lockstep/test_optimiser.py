"""The optimiser of many rows equals torch.optim.SGD on each."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.lockstep.optimiser import OptimConfig, Optimiser, pack, unpack
from tamiyo_trl.lockstep.rows import Rows, size_of

FORMS = ({"a": (2, 3), "b": (4,)}, {"c": (5, 1)})


def make_rows(n: int, shapes: dict[str, tuple[int, ...]], rng: torch.Generator) -> Rows:
    size = size_of(shapes)
    values, trainable = torch.randn(n, size, generator=rng).double(), torch.rand(n, size, generator=rng) < 0.8
    return Rows(values, torch.zeros_like(values), torch.rand(n, generator=rng).double(), trainable.double(), {})


@given(
    seed=st.integers(0, 10**6),
    counts=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    momentum=st.sampled_from([0.0, 0.9]),
    decay=st.sampled_from([0.0, 0.01]),
)
@pytest.mark.slow
def test_steps_equal_those_of_torch_sgd_on_every_row_alone(
    seed: int, counts: tuple[int, int], momentum: float, decay: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    groups = [(make_rows(n, shapes, rng), shapes) for n, shapes in zip(counts, FORMS)]
    lr = torch.rand(sum(counts), generator=rng).double()
    plain, scales = [], [s for rows, _ in groups for s in rows.lr_scale.tolist()]
    masks = [m for rows, _ in groups for m in rows.trainable]
    for (row, rate), scale in zip(zip([v for rows, _ in groups for v in rows.values], lr.tolist()), scales):
        parameter = torch.nn.Parameter(row.clone())
        plain.append((parameter, torch.optim.SGD([parameter], lr=rate * scale, momentum=momentum, weight_decay=decay)))
    start = [p.detach().clone() for p, _ in plain]
    optimiser = Optimiser(groups, lr, OptimConfig(momentum, decay))
    for _ in range(4):
        grads = [torch.randn(n, size_of(s), generator=rng).double() for n, s in zip(counts, FORMS)]
        named = [dict(unpack(pack(g, s), len(g), s)) for g, s in zip(grads, FORMS)]
        grad, norms = optimiser.gather(named)
        optimiser.step(grad, torch.ones(sum(counts), dtype=torch.bool))
        for (p, sgd), g, mask, norm in zip(plain, [row for rows in grads for row in rows], masks, norms):
            p.grad = g * mask
            assert norm.item() == pytest.approx(p.grad.norm().item())
            sgd.step()
    optimiser.write_back()
    for (p, _), first, mask, row in zip(plain, start, masks, [v for rows, _ in groups for v in rows.values]):
        torch.testing.assert_close(row, torch.where(mask == 1, p.detach(), first))


def test_two_steps_by_hand() -> None:
    # p = 1, lr 0.1 * 0.5, momentum 0.9, decay 0.1. Step 1: v = 2 + 0.1 = 2.1, p = 1 - 0.105 = 0.895.
    # Step 2: v = 0.9 * 2.1 + 1 + 0.0895 = 2.9795, p = 0.895 - 0.148975 = 0.746025.
    one = torch.ones(1, 1, dtype=torch.float64)
    rows = Rows(one.clone(), torch.zeros_like(one), torch.tensor([0.5]).double(), one.clone(), {})
    optimiser = Optimiser([(rows, {"p": (1,)})], torch.tensor([0.1]).double(), OptimConfig(0.9, 0.1))
    for gradient in (2.0, 1.0):
        grad, _ = optimiser.gather([{"p": torch.tensor([[gradient]]).double()}])
        optimiser.step(grad, torch.tensor([True]))
    optimiser.write_back()
    assert rows.values.item() == pytest.approx(0.746025)
    assert rows.momentum.item() == pytest.approx(2.9795)


def test_a_row_that_is_not_alive_keeps_values_and_momentum_whatever_its_gradient() -> None:
    rows = make_rows(3, FORMS[0], torch.Generator().manual_seed(0))
    rows.momentum.fill_(0.5)
    values, momentum = rows.values.clone(), rows.momentum.clone()
    optimiser = Optimiser([(rows, FORMS[0])], torch.full((3,), 0.1).double(), OptimConfig())
    gradient = torch.ones(3, 10).double()
    gradient[1] = float("nan")
    grad, norms = optimiser.gather([dict(unpack(pack(gradient, FORMS[0]), 3, FORMS[0]))])
    assert norms.isfinite().tolist() == [True, False, True]
    optimiser.step(grad, norms.isfinite())
    optimiser.write_back()
    assert torch.equal(rows.values[1], values[1])
    assert torch.equal(rows.momentum[1], momentum[1])
    assert rows.is_finite().all()
    assert not torch.equal(rows.values[0], values[0])


@pytest.mark.parametrize("arguments", [{"momentum": 1.0}, {"momentum": -0.1}, {"weight_decay": -1.0}])
def test_impossible_settings_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="momentum must be"):
        OptimConfig(**arguments)
