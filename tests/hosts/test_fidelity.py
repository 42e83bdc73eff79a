"""A fleet's rows equal hosts trained alone as ordinary modules with torch.optim."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_trl.hosts import Fleet, HostConfig
from tests.reference.fleet_history import PlainLife, draw_life, enter_epoch, run_epoch

pytestmark = pytest.mark.slow

CONFIGS = (
    HostConfig(image_size=8, channels=(8, 16, 32)),
    HostConfig(image_size=8, in_channels=1, downsample=("stride", "pool", "none")),
    HostConfig(image_size=12, channels=(12, 20), downsample=("none", "pool"), classes=5),
)
EPOCHS = 5


def compare_with_plain_hosts(fleet: Fleet, seed: int, pool: int, batch: int, lr: float, tolerance: float) -> None:
    """Play random lives on the fleet and on plain trainers and compare every number of every epoch."""
    lives = [draw_life(seed + e, fleet.host, EPOCHS) for e in range(fleet.n_hosts)]
    plain = [PlainLife(fleet.host, fleet.engine.dtype) for _ in lives]
    close = {"rtol": tolerance, "atol": tolerance}
    for t in range(EPOCHS):
        enter_epoch(fleet, lives, t)
        for e, twin in enumerate(plain):
            twin.enter_epoch(fleet, e, lives[e][t])
        mine = run_epoch(fleet, lives, t, pool, batch, lr)
        for e, twin in enumerate(plain):
            for name, value in twin.run_epoch(lives[e][t], pool, batch, lr).items():
                key, _, site = name.partition(".") if name.startswith("seed") else (name, "", "")
                got = mine[key][e, int(site)] if site else mine[key][e]
                assert got.item() == pytest.approx(value, rel=tolerance, abs=tolerance), (t, e, name)
            for name, value in fleet.named_host(e).items():
                own = twin.trainer.parameter(name).data
                torch.testing.assert_close(own, value, **close)
            for site in twin.trainer.host.seeds:
                for name, value in fleet.named_seed(e, site).items():
                    own = twin.trainer.seed_parameter(site, name).data
                    torch.testing.assert_close(own, value.view_as(own), **close)


@pytest.mark.parametrize("engine", ["grouped", "looped"])
@given(seed=st.integers(0, 10**6), config=st.sampled_from(CONFIGS), n_hosts=st.integers(1, 3))
@settings(max_examples=5)
def test_in_double_precision_every_number_equals_that_of_plain_modules(
    engine: str, seed: int, config: HostConfig, n_hosts: int
) -> None:
    fleet = Fleet(config, n_hosts, engine=engine, precision="fp64")
    compare_with_plain_hosts(fleet, seed, pool=28, batch=8, lr=0.05, tolerance=1e-6)  # 20 steps, some of 4 images


@pytest.mark.parametrize("engine", ["grouped", "looped"])
@given(seed=st.integers(0, 10**6), config=st.sampled_from(CONFIGS[1:]))
@settings(max_examples=3)
def test_in_single_precision_it_differs_by_rounding_alone(engine: str, seed: int, config: HostConfig) -> None:
    fleet = Fleet(config, 3, engine=engine)
    compare_with_plain_hosts(fleet, seed, pool=80, batch=32, lr=0.01, tolerance=2e-3)  # 15 steps
