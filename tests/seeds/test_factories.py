"""Blueprints as ordinary modules: sizes, shapes, births, and how one registers one's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.lockstep.rows import named_row
from tamiyo_trl.seeds.blueprints import BLUEPRINTS, SeedBirth, seed_network, seed_row
from tamiyo_trl.seeds.factories import FACTORIES, PROBES, blueprints_for, factory_of, make_seed, register_blueprint
from tamiyo_trl.seeds.twins import born_module, module_tensor


@pytest.fixture
def _own_registry() -> Iterator[None]:
    kept = dict(FACTORIES)
    yield
    FACTORIES.clear()
    FACTORIES.update(kept)


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_fleet_and_the_modules_know_the_same_maps() -> None:
    assert blueprints_for("map") == tuple(BLUEPRINTS)


@pytest.mark.parametrize("name", BLUEPRINTS)
@pytest.mark.parametrize("channels", [2, 8, 16, 64])
def test_a_module_has_as_many_parameters_as_its_rows(name: str, channels: int) -> None:
    assert size(factory_of(name, "map")(channels)) == BLUEPRINTS[name].parameter_count(channels)


FEATURE_SIZES = {
    "norm": 33,  # 2 * 16 + 1
    "attention": 128,  # 2 * 16 * 4
    "bottleneck": 180,  # norm 32 + 16 * 4 + 4 + 4 * 16 + 16
    "wide": 2160,  # norm 32 + 16 * 64 + 64 + 64 * 16 + 16
}


@pytest.mark.parametrize("name", blueprints_for("features"))
def test_feature_blueprints_have_their_documented_sizes(name: str) -> None:
    assert size(factory_of(name, "features")(16)) == FEATURE_SIZES[name]


@pytest.mark.parametrize(("name", "form"), FACTORIES)
def test_every_seed_keeps_the_shape_and_learns(name: str, form: str) -> None:
    module = make_seed(FACTORIES[name, form], 8, seed=2)  # type: ignore[index]
    h = torch.rand(PROBES[form], generator=torch.Generator().manual_seed(0))  # type: ignore[index]
    out = module(h)
    assert out.shape == h.shape
    out.square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    assert any(bool(p.grad.abs().sum() > 0) for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("form", ["map", "features"])
def test_a_residual_seed_is_born_near_neutral(form: str) -> None:
    # What a seed adds to an activation of unit variance is smaller than the activation itself.
    h = torch.randn(PROBES[form], generator=torch.Generator().manual_seed(0))  # type: ignore[index]
    for name in blueprints_for(form):  # type: ignore[arg-type]
        if name != "lossy":
            module = make_seed(factory_of(name, form), 8, seed=1)  # type: ignore[arg-type]
            assert (module(h) - h).square().mean() < h.square().mean()


def test_a_seed_is_a_function_of_its_number_and_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (make_seed(factory_of("wide", "map"), 8, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.conv.weight, same.conv.weight)  # type: ignore[arg-type]
    assert not torch.equal(one.conv.weight, other.conv.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_born_module_has_the_numbers_of_its_row_and_its_dead_units_never_train(name: str) -> None:
    birth = SeedBirth(name, seed=5, init_scale=0.5, dead_share=0.5)
    module, shapes = born_module(birth, 8), seed_network(name, 8).shapes()
    row = seed_row(birth, 8)
    for key, value in named_row(row, shapes).items():
        assert torch.equal(module_tensor(module, key), value.reshape(module_tensor(module, key).shape))
    module(torch.randn(4, 8, 5, 5)).square().sum().backward()
    masks = row.trainable.split([torch.Size(s).numel() for s in shapes.values()], dim=1)
    for key, mask in zip(shapes, masks):
        gradient = module_tensor(module, key).grad
        assert gradient is not None
        assert (gradient.flatten()[mask[0] == 0] == 0).all()


class Shift(nn.Module):
    """The example of docs/grow.md: a learned offset for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.offset


@pytest.mark.usefixtures("_own_registry")
def test_a_blueprint_of_ones_own_is_registered_and_planted_by_name() -> None:
    register_blueprint("shift", Shift)
    assert "shift" in blueprints_for("map")
    assert isinstance(born_module(SeedBirth("shift", seed=1), 4), Shift)
    register_blueprint("shift", Shift)  # again: a notebook's cell


@pytest.mark.usefixtures("_own_registry")
@pytest.mark.parametrize(
    ("name", "factory", "form", "message"),
    [
        ("wide", Shift, "map", "taken"),
        (" ", Shift, "map", "name"),
        ("shrink", lambda c: nn.Conv2d(c, c, 3), "map", r"\(2, 8, 6, 6\) became \(2, 8, 4, 4\)"),
        ("shift", Shift, "graph", "map, features"),
    ],
)
def test_a_blueprint_that_cannot_work_is_refused(name: str, factory: object, form: str, message: str) -> None:
    before = dict(FACTORIES)
    with pytest.raises(ConfigError, match=message):
        register_blueprint(name, factory, form)  # type: ignore[arg-type]
    assert before == FACTORIES
