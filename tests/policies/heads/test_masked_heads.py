"""MaskedHeads against full enumeration, by sampling, at the edges of arithmetic, and inside TorchRL."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tamiyo_trl.errors import SpecError
from tamiyo_trl.policies import MaskedHeads
from tamiyo_trl.policies.actions import Heads, OneHotHeads, ScalarHead
from tests.reference import heads as plain

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
seeds = st.integers(0, 10**6)


def random_joint(nvec: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(sum(nvec), generator=gen, dtype=torch.float64)
    mask = torch.rand(nvec, generator=gen) < torch.rand((), generator=gen)
    mask.view(-1)[torch.randint(mask.numel(), (), generator=gen)] = True
    return logits, mask


def random_independent(nvec: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(sum(nvec), generator=gen, dtype=torch.float64)
    parts = [torch.rand(n, generator=gen) < 0.6 for n in nvec]
    for n, part in zip(nvec, parts):
        part[torch.randint(n, (), generator=gen)] = True
    return logits, torch.cat(parts)


def assert_equals_table(dist: MaskedHeads, table: dict[plain.Action, float], nvec: tuple[int, ...]) -> None:
    """Probabilities, entropies and mode of one distribution equal those of the enumerated `table`."""
    for action, probability in table.items():
        written = torch.tensor([max(value, 0) for value in action])
        assert dist.log_prob(written).exp().item() == pytest.approx(probability, abs=1e-9)
    assert sum(table.values()) == pytest.approx(1.0)
    expected = plain.head_entropies(table, len(nvec))
    got = [value.item() for value in dist.head_entropies().values()]
    assert got == pytest.approx(expected, abs=1e-9)
    assert dist.entropy().item() == pytest.approx(plain.entropy(list(table.values())), abs=1e-9)
    assert dist.log_prob(dist.mode).exp().item() == pytest.approx(max(table.values()))


@given(shapes, seeds)
def test_joint_masks_equal_the_enumeration_of_every_joint_action(nvec: tuple[int, ...], seed: int) -> None:
    logits, mask = random_joint(nvec, seed)
    table = plain.conditional_joint(logits.tolist(), lambda action: bool(mask[action]), nvec)
    assert_equals_table(MaskedHeads(logits, mask, action=Heads(nvec)), table, nvec)


@given(shapes, seeds)
def test_independent_masks_equal_the_enumeration_of_every_joint_action(nvec: tuple[int, ...], seed: int) -> None:
    logits, mask = random_independent(nvec, seed)
    always = [[True] * len(nvec)] * nvec[0]
    table = plain.relevant_joint(logits.tolist(), mask.tolist(), nvec, always)
    assert_equals_table(MaskedHeads(logits, mask, action=Heads(nvec)), table, nvec)


@given(shapes, seeds)
def test_irrelevant_heads_neither_count_nor_matter(nvec: tuple[int, ...], seed: int) -> None:
    logits, mask = random_independent(nvec, seed)
    relevant = torch.rand(nvec[0], len(nvec), generator=torch.Generator().manual_seed(seed)) < 0.5
    relevant[:, 0] = True
    table = plain.relevant_joint(logits.tolist(), mask.tolist(), nvec, relevant.tolist())
    assert_equals_table(MaskedHeads(logits, mask, action=Heads(nvec), relevant=relevant), table, nvec)


@given(shapes, seeds)
def test_an_independent_mask_written_as_a_joint_mask_gives_the_same_distribution(
    nvec: tuple[int, ...], seed: int
) -> None:
    logits, mask = random_independent(nvec, seed)
    joint = torch.ones(nvec, dtype=torch.bool)
    for k, part in enumerate(mask.split(nvec)):
        joint &= part.reshape(*[1] * k, nvec[k], *[1] * (len(nvec) - k - 1))
    side_by_side, one_by_one = (MaskedHeads(logits, m, action=Heads(nvec)) for m in (mask, joint))
    actions = torch.tensor(plain.all_actions(nvec))
    torch.testing.assert_close(side_by_side.log_prob(actions).exp(), one_by_one.log_prob(actions).exp())
    torch.testing.assert_close(side_by_side.entropy(), one_by_one.entropy())


def test_without_a_mask_every_action_is_legal() -> None:
    logits = torch.randn(7, 5)
    dist = MaskedHeads(logits, action=Heads((2, 3)))
    expected = logits[:, :2].log_softmax(-1)[:, 1] + logits[:, 2:].log_softmax(-1)[:, 2]
    torch.testing.assert_close(dist.log_prob(torch.tensor([1, 2]).expand(7, 2)), expected)


def test_hand_worked_conditional_mask() -> None:
    # Two ops, logits log 1, log 3; a second head, logits log 5, log 1, log 4; op 0 allows value 0, op 1 values 1, 2.
    # P(0, 0) = 1/4 * 1; P(1, 1) = 3/4 * 1/5 = 0.15; P(1, 2) = 3/4 * 4/5 = 0.6.
    logits = torch.tensor([1.0, 3.0, 5.0, 1.0, 4.0]).log()
    mask = torch.tensor([[True, False, False], [False, True, True]])
    dist = MaskedHeads(logits, mask, action=Heads((2, 3), ("op", "value")))
    actions = torch.tensor([[0, 0], [1, 1], [1, 2], [0, 1], [1, 0]])
    torch.testing.assert_close(dist.log_prob(actions).exp(), torch.tensor([0.25, 0.15, 0.6, 0.0, 0.0]))
    # H(op) = -(1/4 ln 1/4 + 3/4 ln 3/4) = 0.5623.
    # E[H(value | op)] = 1/4 * 0 + 3/4 * -(1/5 ln 1/5 + 4/5 ln 4/5) = 0.3753.
    entropies = dist.head_entropies()
    assert entropies["op"].item() == pytest.approx(0.562335, abs=1e-5)
    assert entropies["value"].item() == pytest.approx(0.375302, abs=1e-5)
    assert dist.mode.tolist() == [1, 2]


def test_the_mode_is_the_joint_one_even_where_heads_one_by_one_would_miss_it() -> None:
    # Op 1 is likelier (0.6) but splits over four values (0.15 each); op 0 (0.4) has a single one.
    logits = torch.tensor([0.4, 0.6, 1.0, 1.0, 1.0, 1.0]).log()
    joint = torch.tensor([[True, False, False, False], [True, True, True, True]])
    assert MaskedHeads(logits, joint, action=Heads((2, 4))).mode.tolist() == [0, 0]
    relevant = torch.tensor([[True, False], [True, True]])
    everything = torch.ones(6, dtype=torch.bool)
    assert MaskedHeads(logits, everything, action=Heads((2, 4)), relevant=relevant).mode[0] == 0


JOINT = (torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(3)) < 0.3).logical_or_(
    torch.nn.functional.one_hot(torch.tensor(0), 60).reshape(3, 4, 5).bool()
)


def test_samples_follow_the_distribution_by_a_chi_squared_test() -> None:
    torch.manual_seed(0)
    logits = torch.randn(12)
    dist = MaskedHeads(logits, JOINT, action=Heads((3, 4, 5)))
    n = 100_000
    flat = (dist.sample((n,)) * torch.tensor([20, 5, 1])).sum(-1)
    observed = torch.bincount(flat, minlength=60).double()
    expected = n * dist.log_prob(torch.tensor(plain.all_actions((3, 4, 5)))).double().exp()
    legal = JOINT.flatten()
    assert observed[~legal].sum() == 0
    statistic = ((observed - expected)[legal] ** 2 / expected[legal]).sum().item()
    assert stats.chi2.sf(statistic, int(legal.sum()) - 1) > 1e-3


@pytest.mark.parametrize("layout", ["joint", "independent"])
def test_one_million_samples_hold_no_illegal_joint_action(layout: str) -> None:
    torch.manual_seed(1)
    rows, nvec = 1000, (3, 2, 4)
    logits = 20 * torch.randn(rows, sum(nvec))  # strong preferences, for illegal actions too
    if layout == "joint":
        mask = torch.rand(rows, *nvec) < 0.2
        mask[:, 0, 0, 0] = True
    else:
        mask = torch.rand(rows, sum(nvec)) < 0.4
        mask[:, [0, 3, 5]] = True
    actions = MaskedHeads(logits, mask, action=Heads(nvec)).sample((1000,))
    row = torch.arange(rows).expand(1000, rows)
    if layout == "joint":
        assert mask[(row, *actions.unbind(-1))].all()
    else:
        offsets = torch.tensor([0, 3, 5])
        assert mask[row.unsqueeze(-1), actions + offsets].all()


def test_a_forced_step_has_probability_one_and_entropy_exactly_zero() -> None:
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[1, 2, 3] = True
    logits = torch.randn(9, requires_grad=True)
    dist = MaskedHeads(logits, mask, action=Heads((2, 3, 4)))
    assert dist.sample().tolist() == dist.mode.tolist() == [1, 2, 3]
    assert dist.log_prob(dist.mode).item() == 0.0
    assert dist.entropy().item() == 0.0
    (dist.entropy() + dist.log_prob(dist.mode)).backward()
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("mask_shape", [(9,), (2, 3, 4), (24,)])
def test_a_mask_without_any_legal_action_gives_finite_numbers(mask_shape: tuple[int, ...]) -> None:
    nvec = (24,) if mask_shape == (24,) else (2, 3, 4)
    logits = torch.randn(sum(nvec), requires_grad=True)
    dist = MaskedHeads(logits, torch.zeros(mask_shape, dtype=torch.bool), action=Heads(nvec))
    total = dist.log_prob(dist.sample()) + dist.entropy()
    total.backward()
    assert total.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_logits_stay_finite_in_every_dtype(dtype: torch.dtype) -> None:
    logits = torch.tensor([6e4, -6e4, 0.0, 6e4, -6e4]).to(dtype)
    mask = torch.tensor([[False, True, True], [True, False, True]])
    dist = MaskedHeads(logits, mask, action=Heads((2, 3)))
    actions = torch.tensor(plain.all_actions((2, 3)))
    assert dist.log_prob(actions).isfinite().all()
    assert dist.entropy().isfinite()
    assert dist.log_prob(actions).dtype in (torch.float32, torch.float64)
    assert (dist.log_prob(actions)[~mask.flatten()] < -1e29).all()
    assert mask[tuple(dist.sample().tolist())]


@pytest.mark.parametrize("layout", ["joint", "independent", "relevant"])
def test_gradients_equal_finite_differences(layout: str) -> None:
    torch.manual_seed(0)
    nvec = (2, 3)
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(4, 2, 3) < 0.6 if layout == "joint" else torch.rand(4, 5) < 0.6
    mask[..., 0] = True
    if layout != "joint":
        mask[..., 2] = True
    relevant = torch.tensor([[True, False], [True, True]]) if layout == "relevant" else None

    def both(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        dist = MaskedHeads(values, mask, action=Heads(nvec), relevant=relevant)
        return dist.log_prob(torch.zeros(4, 2, dtype=torch.int64)).clamp_min(-1e3), dist.entropy()

    assert torch.autograd.gradcheck(both, (logits,))


def test_masked_logits_get_no_gradient() -> None:
    logits = torch.randn(5, requires_grad=True)
    mask = torch.tensor([True, False, True, True, False])
    MaskedHeads(logits, mask, action=Heads((2, 3))).entropy().backward()
    assert logits.grad is not None
    assert (logits.grad[~mask] == 0).all()


def test_batches_and_sample_shapes_broadcast() -> None:
    dist = MaskedHeads(torch.randn(4, 6, 9), torch.rand(4, 6, 2, 3, 4) < 0.9, action=Heads((2, 3, 4)))
    assert dist.sample().shape == (4, 6, 3)
    samples = dist.sample((5, 2))
    assert samples.shape == (5, 2, 4, 6, 3)
    assert dist.log_prob(samples).shape == (5, 2, 4, 6)
    torch.testing.assert_close(dist.log_prob(samples)[3, 1], dist.log_prob(samples[3, 1]))
    assert dist.entropy().shape == dist.head_entropies().batch_size == (4, 6)


def test_sampling_is_decided_by_the_global_seed() -> None:
    dist = MaskedHeads(torch.randn(50, 9), action=Heads((2, 3, 4)))
    torch.manual_seed(5)
    first = dist.sample()
    torch.manual_seed(5)
    assert torch.equal(first, dist.sample())
    assert not torch.equal(first, dist.sample())


def test_one_hot_and_scalar_actions_are_the_same_distribution_written_otherwise() -> None:
    logits, mask = torch.randn(6, 4), torch.rand(6, 4) < 0.7
    mask[:, 1] = True
    scalar = MaskedHeads(logits, mask, action=ScalarHead((4,)))
    hot = MaskedHeads(logits, mask, action=OneHotHeads((4,), dtype=torch.bool))
    action = hot.sample()
    assert action.shape == (6, 4)
    assert action.dtype == torch.bool
    assert (action.sum(-1) == 1).all()
    torch.testing.assert_close(hot.log_prob(action), scalar.log_prob(action.int().argmax(-1)))
    torch.testing.assert_close(scalar.log_prob(scalar.sample()).shape, torch.Size([6]))
    double = OneHotHeads((2, 3))
    index = torch.tensor([[0, 2], [1, 0]])
    assert double.encode(index).tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]
    assert torch.equal(double.decode(double.encode(index)), index)


def test_a_mask_of_zeros_and_ones_is_a_mask() -> None:
    logits, mask = torch.randn(5), torch.tensor([1, 0, 1, 1, 0])
    as_int, as_bool = (MaskedHeads(logits, m, action=Heads((2, 3))) for m in (mask, mask.bool()))
    assert torch.equal(as_int.entropy(), as_bool.entropy())


@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 3, 1), (7, 5)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="fits neither"):
        MaskedHeads(torch.randn(5), torch.ones(shape, dtype=torch.bool), action=Heads((2, 3)))


def test_a_relevance_table_beside_a_joint_mask_is_refused() -> None:
    with pytest.raises(SpecError, match="relevance"):
        MaskedHeads(
            torch.randn(5), torch.ones(2, 3, dtype=torch.bool), action=Heads((2, 3)), relevant=torch.ones(2, 2) > 0
        )


def test_head_names_must_fit_the_heads() -> None:
    with pytest.raises(SpecError, match="head_names must name 2 heads"):
        Heads((2, 3), ("op",))
    assert Heads((2, 3)).head_names == ("head_0", "head_1")
