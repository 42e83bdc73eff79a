"""Blending: who hears whom, who learns from whom, exactly."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tamiyo_trl.seeds.blending import Members, blend, unblend

B, C, SIZE = 2, 3, 2


def draw(rng: torch.Generator, n: int) -> Tensor:
    x = torch.randn(B, n * C, SIZE, SIZE, generator=rng, dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last)


def rows(x: Tensor, n: int) -> Tensor:
    return x.reshape(B, n, C, SIZE, SIZE)


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 5),
    alphas=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    incubating=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_it_equals_the_straight_through_and_blend_formulas_under_autograd(
    seed: int, n: int, alphas: list[float], incubating: list[bool]
) -> None:
    rng = torch.Generator().manual_seed(seed)
    h, weight, g = draw(rng, n), draw(rng, n), draw(rng, n)  # the seed of row r is h -> weight_r * h
    first = list(range(0, n, 2))
    banks = [first, [r for r in range(n) if r not in first][:2]]
    members = [
        Members.of(
            torch.tensor(b), torch.tensor([alphas[r] for r in b]).double(), torch.tensor([incubating[r] for r in b])
        )
        for b in banks
    ]
    taken = [m.take(h, n) for m in members]
    weights = [m.take(weight, n) for m in members]
    out = blend(h, n, members, taken, [w * t for w, t in zip(weights, taken)])
    seed_pulls: list[Tensor] = []

    def through(w: Tensor, pulled: Tensor) -> Tensor:
        seed_pulls.append(pulled)
        return pulled * w

    host_gradient = g.clone(memory_format=torch.channels_last)
    for m, w in zip(members, weights):
        unblend(host_gradient, n, m, lambda pulled, w=w: through(w, pulled))

    plain_h, plain_w = rows(h, n).clone().requires_grad_(), rows(weight, n).clone().requires_grad_()
    columns = []
    for r in range(n):
        own = plain_h[:, r]
        if not any(r in b for b in banks):
            columns.append(own)
        elif incubating[r]:
            s = plain_w[:, r] * own.detach()
            columns.append(own + (s - s.detach()))
        else:
            columns.append((1 - alphas[r]) * own + alphas[r] * plain_w[:, r] * own)
    plain = torch.stack(columns, 1)
    plain.backward(rows(g, n))
    torch.testing.assert_close(rows(out, n), plain)
    torch.testing.assert_close(rows(host_gradient, n), plain_h.grad)
    for b, pulled in zip(banks, seed_pulls):
        for i, r in enumerate(b):  # d loss / d weight = pull * h
            torch.testing.assert_close(rows(pulled, len(b))[:, i] * rows(h, n)[:, r], plain_w.grad[:, r])


@given(seed=st.integers(0, 10**6))
def test_an_incubating_seed_changes_no_bit_of_the_host_forward_or_backward(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    h, g = draw(rng, 3).float(), draw(rng, 3).float()
    m = Members.of(torch.tensor([0, 2]), torch.tensor([0.7, 0.2]), torch.tensor([True, True]))
    not_finite = torch.full((B, 2 * C, SIZE, SIZE), float("nan"))
    assert blend(h, 3, [m], [m.take(h, 3)], [not_finite]) is h
    kept = g.clone()
    unblend(g, 3, m, lambda pulled: not_finite)
    assert torch.equal(g, kept)


@given(seed=st.integers(0, 10**6))
def test_alpha_zero_is_the_identity_and_alpha_one_is_the_seed_bit_for_bit(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    h, s = draw(rng, 3).float(), draw(rng, 2).float()
    m = Members.of(torch.tensor([0, 2]), torch.tensor([0.0, 1.0]), torch.tensor([False, False]))
    out = rows(blend(h, 3, [m], [m.take(h, 3)], [s]), 3)
    assert torch.equal(out[:, :2], rows(h, 3)[:, :2])
    assert torch.equal(out[:, 2], rows(s, 2)[:, 1])


def test_blending_by_hand() -> None:
    # h = 2, s = 6, a = 0.25: out = 0.75 * 2 + 0.25 * 6 = 3. Pull 8: seed's output gets 2; with ds/dh = 3 the host gets
    # 0.75 * 8 + 3 * 2 = 12.
    m = Members.of(torch.tensor([0]), torch.tensor([0.25]), torch.tensor([False]))
    h, s = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 6.0)
    assert blend(h, 1, [m], [h], [s]).item() == 3.0
    g, pulls = torch.full((1, 1, 1, 1), 8.0), []
    unblend(g, 1, m, lambda pulled: pulls.append(pulled.item()) or pulled * 3)
    assert pulls == [2.0]
    assert g.item() == 12.0
