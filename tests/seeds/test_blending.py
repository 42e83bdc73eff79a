"""Blending: who hears whom, who learns from whom, exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tamiyo_trl.seeds.blending import Members, blend, unblend

B, C, SIZE = 2, 3, 2


def draw(rng: torch.Generator, n: int) -> Tensor:
    return torch.randn(n, B, SIZE, SIZE, C, generator=rng, dtype=torch.float64)


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 5),
    alphas=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    incubating=st.lists(st.booleans(), min_size=5, max_size=5),
)
@pytest.mark.slow
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
    taken = [m.take(h) for m in members]
    weights = [m.take(weight) for m in members]
    out = blend(h, members, taken, [w * t for w, t in zip(weights, taken)])
    seed_pulls: list[Tensor] = []

    def through(w: Tensor, pulled: Tensor) -> Tensor:
        seed_pulls.append(pulled)
        return pulled * w

    host_gradient = g.clone()
    for m, w in zip(members, weights):
        unblend(host_gradient, m, lambda pulled, w=w: through(w, pulled))

    plain_h, plain_w = h.clone().requires_grad_(), weight.clone().requires_grad_()
    plain_rows = []
    for r in range(n):
        own = plain_h[r]
        if not any(r in b for b in banks):
            plain_rows.append(own)
        elif incubating[r]:
            s = plain_w[r] * own.detach()
            plain_rows.append(own + (s - s.detach()))
        else:
            plain_rows.append((1 - alphas[r]) * own + alphas[r] * plain_w[r] * own)
    plain = torch.stack(plain_rows)
    plain.backward(g)
    torch.testing.assert_close(out, plain)
    torch.testing.assert_close(host_gradient, plain_h.grad)
    for b, pulled in zip(banks, seed_pulls):
        for i, r in enumerate(b):  # d loss / d weight = pull * h
            torch.testing.assert_close(pulled[i] * h[r], plain_w.grad[r])


@given(seed=st.integers(0, 10**6))
def test_an_incubating_seed_changes_no_bit_of_the_host_forward_or_backward(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    h, g = draw(rng, 3).float(), draw(rng, 3).float()
    m = Members.of(torch.tensor([0, 2]), torch.tensor([0.7, 0.2]), torch.tensor([True, True]))
    not_finite = torch.full((2, B, SIZE, SIZE, C), float("nan"))
    assert blend(h, [m], [m.take(h)], [not_finite]) is h
    kept = g.clone()
    unblend(g, m, lambda pulled: not_finite)
    assert torch.equal(g, kept)


@given(seed=st.integers(0, 10**6))
def test_alpha_zero_is_the_identity_and_alpha_one_is_the_seed_bit_for_bit(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    h, s = draw(rng, 3).float(), draw(rng, 2).float()
    m = Members.of(torch.tensor([0, 2]), torch.tensor([0.0, 1.0]), torch.tensor([False, False]))
    out = blend(h, [m], [m.take(h)], [s])
    assert torch.equal(out[:2], h[:2])
    assert torch.equal(out[2], s[1])


def test_blending_by_hand() -> None:
    # h = 2, s = 6, a = 0.25: out = 0.75 * 2 + 0.25 * 6 = 3. Pull 8: seed's output gets 2; with ds/dh = 3 the host gets
    # 0.75 * 8 + 3 * 2 = 12.
    m = Members.of(torch.tensor([0]), torch.tensor([0.25]), torch.tensor([False]))
    h, s = torch.full((1, 1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1, 1), 6.0)
    assert blend(h, [m], [h], [s]).item() == 3.0
    g, pulls = torch.full((1, 1, 1, 1, 1), 8.0), []
    unblend(g, m, lambda pulled: pulls.append(pulled.item()) or pulled * 3)
    assert pulls == [2.0]
    assert g.item() == 12.0
