"""A growth site: nothing until planted, and then what its stage says, forward and backward."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.grow import GrowthSite
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.blending import Members, blend, unblend
from tamiyo_trl.seeds.factories import FACTORIES, PROBES
from tests.grow.nets import batch, make_net


class Scale(nn.Module):
    """w h."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, h: Tensor) -> Tensor:
        return self.weight * h


def test_without_a_seed_it_is_the_identity_itself() -> None:
    h = torch.randn(2, 4, 3, 3)
    assert GrowthSite(4)(h) is h


@pytest.mark.parametrize(("name", "form"), FACTORIES)
def test_an_incubating_seed_learns_and_changes_no_bit_of_its_host(name: str, form: str) -> None:
    # The same network twice, one with a seed in the incubator: same logits, same gradients of the host, bit for bit.
    torch.manual_seed(0)  # a gate whose hidden units are all dead would learn nothing
    bare = make_net()
    grown = copy.deepcopy(bare)
    site = grown.site0 if form == "map" else grown.site2
    site.plant(FACTORIES[name, form](8))  # type: ignore[index]
    images, labels = batch(0)
    logits = [net(images) for net in (bare, grown)]
    assert torch.equal(*logits)
    for out in logits:
        nn.functional.cross_entropy(out, labels).backward()
    host = dict(bare.named_parameters())
    for key, p in grown.named_parameters():
        if key in host:
            assert torch.equal(p.grad, host[key].grad)  # type: ignore[arg-type]
    assert any(bool(p.grad.abs().sum() > 0) for p in site.seed.parameters() if p.grad is not None)  # type: ignore
    grown.eval(), bare.eval()
    assert torch.equal(bare(images), grown(images))


def test_a_seed_that_is_not_finite_does_no_harm_in_the_incubator() -> None:
    site = GrowthSite(2)
    site.plant(Scale(torch.tensor(float("nan"))))
    h = torch.tensor([-0.0, 1.0]).view(1, 2, 1, 1).requires_grad_()
    out = site(h)
    assert torch.equal(out, h)
    assert torch.signbit(out[0, 0]).item()
    out.sum().backward()
    assert h.grad.tolist() == [[[[1.0]], [[1.0]]]]  # type: ignore[union-attr]


def test_blending_by_hand() -> None:
    # h = 2, s = 3 h = 6, a = 0.25: out = 0.75 * 2 + 0.25 * 6 = 3. For the gradient 8 of out the seed's weight gets
    # 0.25 * 8 * h = 4 and the host 0.75 * 8 + 0.25 * 8 * 3 = 12.
    site = GrowthSite(1)
    site.plant(Scale(torch.tensor(3.0)))
    site.show(Stage.BLENDING, 0.25)
    h = torch.full((1, 1, 1, 1), 2.0, requires_grad=True)
    out = site(h)
    assert out.item() == 3.0
    out.backward(torch.full_like(out, 8.0))
    assert site.seed.weight.grad.item() == 4.0  # type: ignore[union-attr]
    assert h.grad.item() == 12.0  # type: ignore[union-attr]


@given(seed=st.integers(0, 10**6), alpha=st.floats(0, 1), incubating=st.booleans())
def test_it_blends_as_the_fleet_does(seed: int, alpha: float, incubating: bool) -> None:
    rng = torch.Generator().manual_seed(seed)
    h, g = (torch.randn(2, 3, 2, 2, generator=rng, dtype=torch.float64) for _ in range(2))  # [B, C, H, W]
    weight = torch.randn((), generator=rng, dtype=torch.float64)
    site = GrowthSite(3).double()
    site.plant(Scale(weight.clone()))
    site.show(Stage.TRAINING if incubating else Stage.BLENDING, alpha)
    own = h.clone().requires_grad_()
    out = site(own)
    out.backward(g)

    rows, pulls = [t.permute(0, 2, 3, 1)[None] for t in (h, g)], []
    member = Members.of(torch.tensor([0]), torch.tensor([alpha]).double(), torch.tensor([incubating]))
    expected = blend(rows[0], [member], [rows[0]], [weight * rows[0]])
    torch.testing.assert_close(out.permute(0, 2, 3, 1)[None], expected)
    host = rows[1].clone()
    unblend(host, member, lambda pulled: pulls.append(pulled) or weight * pulled)  # type: ignore[func-returns-value]
    torch.testing.assert_close(own.grad.permute(0, 2, 3, 1)[None], host)  # type: ignore[union-attr]
    torch.testing.assert_close(site.seed.weight.grad, (pulls[0] * rows[0]).sum())  # type: ignore[union-attr]


def test_alpha_zero_is_the_host_and_alpha_one_the_seed_bit_for_bit() -> None:
    site, h = GrowthSite(3), torch.randn(2, 3, 4, 4)
    seed = FACTORIES["conv_light", "map"](3).eval()
    site.eval().plant(seed)
    site.show(Stage.BLENDING, 0.0)
    assert torch.equal(site(h), h)
    for stage in (Stage.HOLDING, Stage.FOSSILIZED):
        site.show(stage, 1.0)
        assert torch.equal(site(h), seed(h))


def test_the_switch_turns_an_incubating_seed_on_and_any_other_off() -> None:
    site, h = GrowthSite(2).eval(), torch.ones(1, 2, 1, 1)
    site.plant(Scale(torch.tensor(5.0)))
    with site.switched():
        assert torch.equal(site(h), 5 * h)
    assert torch.equal(site(h), h)
    site.show(Stage.HOLDING, 1.0)
    with site.switched():
        assert site(h) is h
    assert torch.equal(site(h), 5 * h)


def test_a_seed_takes_the_sites_dtype_and_the_output_keeps_the_activations() -> None:
    site = GrowthSite(4, form="features").bfloat16()
    site.plant(FACTORIES["wide", "features"](4))
    site.show(Stage.BLENDING, 0.5)
    assert {p.dtype for p in site.seed.parameters()} == {torch.bfloat16}  # type: ignore[union-attr]
    assert site(torch.randn(3, 4).bfloat16()).dtype == torch.bfloat16


def test_under_autocast_the_output_keeps_the_activations_dtype() -> None:
    net, (images, labels) = make_net(), batch(0)
    net.site1.plant(FACTORIES["conv_light", "map"](8))
    for stage, alpha in ((Stage.TRAINING, 0.0), (Stage.BLENDING, 0.5)):
        net.site1.show(stage, alpha)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = torch.relu(net.body(torch.relu(net.norm(net.stem(images)))))
            assert net.site1(h).dtype == h.dtype
            loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_a_site_of_another_width_or_form_says_so() -> None:
    with pytest.raises(SpecError, match=r"\[B, 4, H, W\]: got \[2, 3, 5, 5\]"):
        GrowthSite(4)(torch.zeros(2, 3, 5, 5))
    with pytest.raises(SpecError, match=r"\[B, 4, H, W\]: got \[2, 4\]"):
        GrowthSite(4)(torch.zeros(2, 4))
    with pytest.raises(SpecError, match=r"\[\.\.\., 4\]: got \[2, 7\]"):
        GrowthSite(4, form="features")(torch.zeros(2, 7))
    with pytest.raises(ConfigError, match="map, features"):
        GrowthSite(4, form="graph")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="positive"):
        GrowthSite(0)


def test_a_second_seed_and_one_that_changes_the_shape_are_refused() -> None:
    site = GrowthSite(4)
    site.plant(nn.Conv2d(4, 4, 3))
    with pytest.raises(ConfigError, match="already has a seed"):
        site.plant(nn.Identity())
    with pytest.raises(SpecError, match=r"keep the shape \(1, 4, 5, 5\): got \(1, 4, 3, 3\)"):
        site(torch.zeros(1, 4, 5, 5))


def test_probes_fit_their_forms() -> None:
    for form, shape in PROBES.items():
        assert GrowthSite(8, form)(torch.zeros(shape)).shape == shape
