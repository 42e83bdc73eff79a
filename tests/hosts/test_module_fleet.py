"""The engine `modules`: the fleet's numbers for the built-in host, and any network of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig
from tamiyo_trl.errors import CheckpointError, ConfigError
from tamiyo_trl.hosts import Fleet, HostBirth, HostConfig
from tamiyo_trl.hosts.host_modules import HOSTS, host_maker, register_host
from tamiyo_trl.hosts.module_fleet import ModuleFleet
from tamiyo_trl.seeds.blueprints import BLUEPRINTS, SeedBirth
from tamiyo_trl.seeds.site import GrowthSite
from tests.reference.fleet_history import draw_life, enter_epoch, run_epoch

CONFIG = HostConfig(image_size=8, channels=(8, 16), downsample=("pool", "none"))


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    kept = dict(HOSTS)
    yield
    HOSTS.clear()
    HOSTS.update(kept)


def twins(config: HostConfig, n_hosts: int, precision: str = "fp64") -> tuple[Fleet, Any]:
    """Return a fleet and its twin of modules, which the fleet's test drivers take as well."""
    fleet = Fleet(config, n_hosts, precision=precision)
    twin: Any = ModuleFleet(host_maker("cnn", config, tuple(BLUEPRINTS)), n_hosts, precision=precision)
    twin.host, twin.engine = fleet.host, fleet.engine
    return fleet, twin


@pytest.mark.parametrize("seed", range(6))
def test_random_lives_have_the_fleets_numbers(seed: int) -> None:
    fleet, twin = twins(CONFIG, 3)
    lives = [draw_life(100 * seed + e, CONFIG, 5) for e in range(3)]
    for t in range(5):
        reports = []
        for engine in (fleet, twin):
            enter_epoch(engine, lives, t)
            reports.append(run_epoch(engine, lives, t, pool=28, batch_size=8, lr=0.05))
        for name, value in reports[0].items():
            torch.testing.assert_close(reports[1][name], value, rtol=1e-6, atol=1e-8)
        assert torch.equal(fleet.parameter_counts(), twin.parameter_counts())
        for e in range(3):
            for name, value in fleet.named_host(e).items():
                torch.testing.assert_close(twin.module(e).tensor(name).detach(), value, rtol=1e-6, atol=1e-8)
    assert fleet.host_parameters == twin.host_parameters


def test_a_world_of_modules_shows_what_the_fleets_world_shows() -> None:
    config = GrowthConfig(
        image_size=8,
        splits=SplitSizes(train=64, val=64, test=64, reward=64),
        training=HostTrainingConfig(images_per_step=32),
        observation="summary",
    )
    runs = []
    for engine in ("grouped", "modules"):
        env = GrowthEnv(dataclasses.replace(config, engine=engine), n_envs=3, seed=4)
        runs.append(env.rollout(6))
    assert torch.equal(runs[0]["action"], runs[1]["action"])
    torch.testing.assert_close(runs[0]["observation"], runs[1]["observation"], rtol=1e-3, atol=2e-2)


def test_forks_and_states_go_on_alike() -> None:
    _, twin = twins(CONFIG, 2)
    lives = [draw_life(7 + e, CONFIG, 6) for e in range(2)]
    for t in range(3):
        enter_epoch(twin, lives, t)
        run_epoch(twin, lives, t, 16, 8, 0.05)
    state, fork = twin.state_dict(), twin.fork([0, 1])
    _, other = twins(CONFIG, 2)
    other.load_state_dict(state)
    for t in range(3, 6):
        reports = []
        for engine in (twin, fork, other):
            enter_epoch(engine, lives, t)
            reports.append(run_epoch(engine, lives, t, 16, 8, 0.05))
        for name, value in reports[0].items():
            assert torch.equal(reports[1][name], value)
            assert torch.equal(reports[2][name], value)
    _, smaller = twins(CONFIG, 1)
    with pytest.raises(CheckpointError, match="has 2 hosts, not 1"):
        smaller.load_state_dict(state)


def test_a_host_that_diverges_stops_and_the_others_go_on() -> None:
    fleet, twin = twins(CONFIG, 2, "fp32")
    images, labels = torch.randn(2, 16, 3, 8, 8), torch.randint(0, 10, (2, 16))
    images[0, 3] = float("nan")
    order = torch.arange(16).expand(2, -1)
    for engine in (fleet, twin):
        engine.reset([0, 1], [HostBirth(1), HostBirth(2)])
        engine.train_epoch(images, labels, order, batch_size=8, lr=torch.full((2,), 0.05))
        assert engine.finite.tolist() == [False, True]


class Tokens(nn.Module):
    """Patches as tokens: a network that the fleet does not know, with sites of both forms."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.site0 = nn.Conv2d(1, 8, 2, 2), GrowthSite(8)
        self.mix, self.site1, self.head = nn.Linear(8, 12), GrowthSite(12, form="features"), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.site0(torch.relu(self.patch(x)))
        x = self.site1(torch.relu(self.mix(x.flatten(2).transpose(1, 2))))
        return self.head(x.mean(1))


def tokens(**changes: Any) -> GrowthConfig:
    """Return a world of Tokens."""
    config = GrowthConfig(
        host="tokens",
        engine="modules",
        image_size=8,
        channels=(8, 12),
        sites=(0, 1),
        family="single",
        blueprints=("norm", "attention", "wide"),
        splits=SplitSizes(train=64, val=32, test=32, reward=32),
        training=HostTrainingConfig(images_per_step=32),
    )
    return dataclasses.replace(config, **changes)


def test_a_network_of_ones_own_is_grown_in_an_environment() -> None:
    register_host("tokens", Tokens)
    env = GrowthEnv(tokens(), n_envs=2, seed=1)
    steps = env.rollout(25)
    assert steps["next", "done"][:, -1].all()
    assert steps["next", "info", "germinated"][:, -1].min() > 0
    again = GrowthEnv(tokens(), n_envs=2, seed=1).rollout(25)
    assert torch.equal(steps["observation"], again["observation"])


def test_what_an_engine_or_a_host_cannot_do_is_refused_by_name() -> None:
    register_host("tokens", Tokens)
    with pytest.raises(ConfigError, match="host 'tokens': the engine 'auto' does not know them"):
        tokens(engine="auto")
    with pytest.raises(ConfigError, match=r"sites of \(8, 12\) channels"):
        GrowthEnv(tokens(channels=(8, 8)), n_envs=1)
    with pytest.raises(ConfigError, match="a blueprint for features must be one of .* got 'lossy'"):
        GrowthEnv(tokens(blueprints=("lossy",)), n_envs=1)
    with pytest.raises(ConfigError, match="no block that could be stuck"):
        GrowthEnv(tokens(family="mixed:stuck1"), n_envs=1).reset()
    with pytest.raises(ConfigError, match="host must be one of cnn, tokens: got 'gone'"):
        GrowthEnv(tokens(host="gone"), n_envs=1)
    with pytest.raises(ConfigError, match="has no GrowthSite"):
        register_host("bare", nn.Identity)
    with pytest.raises(ConfigError, match="taken"):
        register_host("tokens", nn.Identity)
    with pytest.raises(ConfigError, match="no seed at site 1"):
        twins(CONFIG, 1)[1].remove(0, 1)


def test_a_seeds_hidden_learning_rate_counts_for_any_blueprint() -> None:
    register_host("tokens", Tokens)
    fleet = ModuleFleet(
        host_maker("tokens", HostConfig(image_size=8, channels=(8, 12), downsample=("none",) * 2), ()), 2
    )
    for e, scale in enumerate((1.0, 0.0)):
        fleet.germinate(e, 1, SeedBirth("wide", 3, lr_scale=scale))
    before = [fleet.module(e).site1.seed.out.weight.detach().clone() for e in range(2)]  # type: ignore[union-attr]
    images, labels = torch.randn(2, 8, 1, 8, 8), torch.randint(0, 10, (2, 8))
    fleet.set_blend(torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool))
    fleet.train_epoch(images, labels, torch.arange(8).expand(2, -1), batch_size=8, lr=torch.full((2,), 0.1))
    moved = [not torch.equal(fleet.module(e).site1.seed.out.weight, old) for e, old in enumerate(before)]  # type: ignore
    assert moved == [True, False]
