"""What numbers are computed in: statistics in double, networks in float32, anything else refused by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_trl.collectors.collector import make_collector
from tamiyo_trl.errors import SpecError
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import make_actor_critic
from tamiyo_trl.policies.normaliser import Normaliser
from tests.policies.zoo import SMALL, Kind, ZooEnv


@given(offset=st.floats(-1e9, 1e9), spread=st.floats(0.1, 1e3), seed=st.integers(0, 99))
def test_what_varies_little_around_a_large_number_keeps_its_content(offset, spread, seed):
    generator = torch.Generator().manual_seed(seed)
    x = offset + spread * torch.randn(1024, 2, generator=generator, dtype=torch.float64)
    normaliser = Normaliser(2)
    for part in x.split(128):
        normaliser.update(part)
    right = ((x - x.mean(0)) / x.std(0, correction=0)).clamp(-10, 10)
    torch.testing.assert_close(normaliser(x).double(), right, rtol=0, atol=1e-3)


@given(absurd=st.sampled_from([1e6, -1e9, 1e20, 3.4e38, -3.4e38]), when=st.integers(0, 5))
def test_one_absurd_reading_does_not_spoil_a_feature_for_ever(absurd, when):
    generator = torch.Generator().manual_seed(when)
    normaliser = Normaliser(1)
    for k in range(50):
        part = torch.randn(256, 1, generator=generator)
        if k == when:
            part[0] = absurd
        normaliser.update(part)
    assert normaliser.var.sqrt() < 4
    assert 0.3 < float(normaliser(torch.tensor([2.0])) - normaliser(torch.tensor([0.0]))) < 2.1


def test_ordinary_readings_are_taken_as_they_are():
    x = torch.randn(4, 256, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1e3, 1e-3])
    normaliser = Normaliser(3)
    for part in x:
        normaliser.update(part)
    torch.testing.assert_close(normaliser.var, x.double().reshape(-1, 3).var(0, correction=0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_move_to_another_type_is_refused_and_changes_nothing(dtype):
    actor_critic = make_actor_critic(ZooEnv(Kind((3,))), "lstm", **SMALL)
    for module in (actor_critic, actor_critic.networks):
        with pytest.raises(SpecError, match=f"cannot be moved to {dtype}"):
            module.to(dtype)
    assert {parameter.dtype for parameter in actor_critic.parameters()} == {torch.float32}
    actor_critic.float()
    assert actor_critic.normaliser.mean.dtype is torch.float64


def test_autocast_is_refused_at_collection_and_at_the_update():
    env = ZooEnv(Kind((3,)))
    actor_critic = make_actor_critic(env, "lstm", **SMALL)
    (batch,) = make_collector(env, actor_critic, 24, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(SpecError, match=r"autocast to torch\.bfloat16"):
            PPOLearner(actor_critic, PPOConfig(minibatches=1)).update(batch)
        with pytest.raises(SpecError, match=r"autocast to torch\.bfloat16"):
            make_collector(env, actor_critic, 24, 24)
