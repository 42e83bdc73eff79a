"""Blueprints: their sizes, their births, and that each computes and differentiates what its plain module does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.lockstep.layers import Context
from tamiyo_trl.lockstep.rows import named_row, split_rows
from tamiyo_trl.seeds.blueprints import BLUEPRINTS, SeedBirth, new_statistics, seed_network, seed_row
from tamiyo_trl.seeds.factories import factory_of
from tamiyo_trl.seeds.twins import module_tensor

pytestmark = pytest.mark.slow

PARAMETERS = {  # C = 8, 16, 32, 64, 128
    "norm": (17, 33, 65, 129, 257),  # 2C + 1
    "attention": (32, 128, 512, 2048, 8192),  # 2 C (C/4)
    "depthwise": (152, 432, 1376, 4800, 17792),  # 9C + C^2 + 2C
    "conv_light": (592, 2336, 9280, 36992, 147712),  # 9C^2 + 2C
    "conv_heavy": (1184, 4672, 18560, 73984, 295424),  # 2 (9C^2 + 2C)
    "wide": (2624, 10368, 41216, 164352, 656384),  # 9 C 4C + 2 4C + 4C C
    "lossy": (32, 128, 512, 2048, 8192),  # 2 C max(2, C/4)
}


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_parameter_counts_follow_their_formula(name: str) -> None:
    assert tuple(BLUEPRINTS[name].parameter_count(c) for c in (8, 16, 32, 64, 128)) == PARAMETERS[name]


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_birth_is_a_function_of_its_seed_and_blueprint(name: str) -> None:
    first, same, other = (seed_row(SeedBirth(name, seed), 16).values for seed in (5, 5, 6))
    assert torch.equal(first, same)
    if name != "norm":  # a norm is born the same every time
        assert not torch.equal(first, other)


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_init_scale_multiplies_the_last_layer_and_nothing_else(name: str) -> None:
    shapes, last = seed_network(name, 16).shapes(), BLUEPRINTS[name].last
    plain, scaled = (named_row(seed_row(SeedBirth(name, 3, init_scale=s), 16), shapes) for s in (1.0, 0.25))
    for key in shapes:
        torch.testing.assert_close(scaled[key], plain[key] * (0.25 if key == last else 1.0))


@pytest.mark.parametrize("name", BLUEPRINTS)
@given(share=st.sampled_from([0.0, 0.3, 0.5, 0.95, 1.0]))
def test_dead_units_are_zero_and_never_train(name: str, share: float) -> None:
    shapes, units = seed_network(name, 32).shapes(), BLUEPRINTS[name].units
    row = seed_row(SeedBirth(name, 3, dead_share=share), 32)
    values, trainable = ({k: v[0] for k, v in split_rows(t, shapes).items()} for t in (row.values, row.trainable))
    count = shapes[units[0]][0]
    dead = (trainable[units[0]].reshape(count, -1) == 0).all(1)
    assert int(dead.sum()) == int(share * count)
    for key in shapes:
        if key in units:
            assert (values[key][dead] == 0).all()
            assert (trainable[key][dead] == 0).all()
            assert (trainable[key][~dead] == 1).all()
        else:
            assert (trainable[key] == 1).all()


@pytest.mark.parametrize("name", BLUEPRINTS)
@pytest.mark.parametrize(("channels", "size", "batch"), [(8, 5, 3), (8, 4, 3), (8, 3, 2), (16, 2, 4), (16, 1, 5)])
@given(seed=st.integers(0, 10**6), members=st.integers(1, 3), training=st.booleans())
def test_a_bank_computes_and_differentiates_like_plain_modules(
    name: str, channels: int, size: int, batch: int, seed: int, members: int, training: bool
) -> None:
    network = seed_network(name, channels)
    shapes, rng = network.shapes(), torch.Generator().manual_seed(seed)
    p = {k: torch.randn(members, *s, generator=rng, dtype=torch.float64) for k, s in shapes.items()}
    means = {k: torch.randn(members, len(v), generator=rng) for k, v in new_statistics(network.norms()).items()}
    statistics = {k: v.double().square() + 0.1 if k.endswith("var") else v.double() for k, v in means.items()}
    x, g = (torch.randn(members, batch, size, size, channels, generator=rng, dtype=torch.float64) for _ in range(2))

    plain = []
    for member in range(members):
        module = factory_of(name, "map")(channels).double().train(training)
        for key, value in (p | statistics).items():
            own = module_tensor(module, key)
            own.data.copy_(value[member].reshape(own.shape))
        inner = x[member].permute(0, 3, 1, 2).clone().requires_grad_()
        out = module(inner)
        out.backward(g[member].permute(0, 3, 1, 2))
        plain.append((module, inner, out.detach()))

    ctx = Context(p, statistics, training, lone_row=members == 1)
    out = network.forward(x.clone(), ctx)
    for member, (_, _, expected) in enumerate(plain):
        torch.testing.assert_close(out[member], expected.permute(0, 2, 3, 1))
    if training:
        gx = network.backward(g.clone(), ctx)
        assert not ctx.tape
        for member, (module, inner, _) in enumerate(plain):
            torch.testing.assert_close(gx[member], inner.grad.permute(0, 2, 3, 1))
            for key in shapes:
                mine = ctx.grads[key].reshape(members, -1)[member]
                torch.testing.assert_close(mine, module_tensor(module, key).grad.flatten(), rtol=1e-6, atol=1e-8)
            for key, moved in ctx.statistics.items():
                torch.testing.assert_close(moved[member], module_tensor(module, key))


def test_a_norm_seed_normalises_each_image_over_channels_and_space() -> None:
    # One image of 2 channels and 1 pixel, values 1 and 3: mean 2, variance 1, so z = -1, +1 (eps 1e-5 aside).
    # Born with w = 1, b = 0, s = 1 the seed returns z.
    row = seed_row(SeedBirth("norm", 0), 2)
    network = seed_network("norm", 2)
    ctx = Context(split_rows(row.values, network.shapes()), {}, training=False)
    out = network.forward(torch.tensor([1.0, 3.0]).view(1, 1, 1, 1, 2), ctx)
    assert out.flatten().tolist() == pytest.approx([-1.0, 1.0], abs=1e-4)


def test_squeeze_excite_gates_by_twice_the_logistic_of_its_hidden_units() -> None:
    # C = 4, one hidden unit. mean x = (1, 1, 1, 1); down = (1, 1, 1, 1) -> 4; up = (0, 0.25, -0.25, 0.5) -> 0, 1, -1, 2
    # gates: 2 logistic(.) = 1, 1.46212, 0.53788, 1.76159
    ctx = Context({"down": torch.ones(1, 1, 4), "up": torch.tensor([[[0.0], [0.25], [-0.25], [0.5]]])}, {}, False)
    out = seed_network("attention", 4).forward(torch.ones(1, 1, 2, 2, 4), ctx)
    assert out[0, 0, 0, 0].tolist() == pytest.approx([1.0, 1.46212, 0.53788, 1.76159], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"blueprint": "orchid"}, "norm, attention"), ({"dead_share": 1.5}, "0..1")]
)
def test_an_impossible_birth_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SeedBirth(**({"blueprint": "norm", "seed": 0} | arguments))  # type: ignore[arg-type] # wrong on purpose
