"""What a fleet promises beyond fidelity and isolation: its contract, its engines, and that it learns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.hosts import Fleet, HostBirth, HostConfig
from tamiyo_trl.hosts.engines import make_engine
from tamiyo_trl.seeds.blueprints import BLUEPRINTS, SeedBirth
from tests.reference.fleet_history import draw_life, enter_epoch, run_epoch, whole_state

CONFIG = HostConfig(image_size=8, channels=(8, 16), downsample=("pool", "none"))


def draw(n_hosts: int, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images whose class is the brightest of ten patches, and their labels."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (n_hosts, count), generator=rng)
    images = torch.randn(n_hosts, count, 3, 8, 8, generator=rng) * 0.5
    for e in range(n_hosts):
        for i, label in enumerate(labels[e].tolist()):
            images[e, i, label % 3, label // 3 * 2 : label // 3 * 2 + 2] += 2.0
    return images, labels


@pytest.mark.parametrize("name", BLUEPRINTS)
@pytest.mark.parametrize("engine", ["grouped", "looped"])
def test_an_incubating_seed_learns_and_changes_no_bit_of_its_host(engine: str, name: str) -> None:
    def train(germinate: bool) -> Fleet:
        fleet = Fleet(CONFIG, 3, engine=engine)
        fleet.reset(range(3), [HostBirth(e) for e in range(3)])
        if germinate:
            fleet.germinate(1, 0, SeedBirth(name, 7))
        fleet.set_blend(torch.full((3, 2), 0.5), torch.ones(3, 2, dtype=torch.bool))
        for step in range(3):
            images, labels = draw(3, 16, step)
            stats = fleet.train_step(images, labels, torch.full((3,), 0.05))
            assert (stats.seed_grad_norm[1, 0] > 0) == germinate
        return fleet

    with_seed, without = train(True), train(False)
    for e in range(3):
        kept = whole_state(without, e)
        assert all(torch.equal(t, whole_state(with_seed, e)[key]) for key, t in kept.items())
    newborn = Fleet(CONFIG, 1)
    newborn.germinate(0, 0, SeedBirth(name, 7))
    first = newborn.named_seed(0, 0)
    assert any(not torch.equal(t, first[key]) for key, t in with_seed.named_seed(1, 0).items() if "mean" not in key)


@pytest.mark.parametrize("engine", ["grouped", "looped"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_hosts_learn_a_task_of_their_own(engine: str, precision: str) -> None:
    fleet = Fleet(CONFIG, 3, engine=engine, precision=precision)
    fleet.reset(range(3), [HostBirth(e) for e in range(3)])
    fleet.germinate(0, 0, SeedBirth("conv_heavy", 1))
    fleet.germinate(1, 1, SeedBirth("norm", 1))
    fleet.germinate(2, 1, SeedBirth("attention", 1))
    fleet.set_blend(torch.ones(3, 2), torch.zeros(3, 2, dtype=torch.bool))
    images, labels = draw(3, 256)
    order = torch.arange(256).expand(3, -1)
    first = last = fleet.evaluate(images, labels, torch.full((3,), -1))
    for _ in range(4):
        stats = fleet.train_epoch(images, labels, order, batch_size=32, lr=torch.full((3,), 0.1))
        last = fleet.evaluate(images, labels, torch.full((3,), -1))
    assert (first.accuracy < 0.4).all()
    assert (last.accuracy > 0.9).all()
    assert (stats.loss < 1.0).all()
    assert fleet.finite.all()


def test_the_engines_agree_to_rounding() -> None:
    lives = [draw_life(e, CONFIG, 2) for e in range(4)]
    reports = []
    for engine in ("grouped", "looped"):
        fleet = Fleet(CONFIG, 4, engine=engine, precision="fp64")
        for t in range(2):
            enter_epoch(fleet, lives, t)
            report = run_epoch(fleet, lives, t, pool=20, batch_size=8, lr=0.05)
        reports.append(report)
    for name, value in reports[0].items():
        torch.testing.assert_close(value, reports[1][name], rtol=1e-6, atol=1e-8)


def test_each_host_and_seed_has_its_own_learning_rate() -> None:
    fleet = Fleet(CONFIG, 3)
    fleet.reset(range(3), [HostBirth(1), HostBirth(1, lr_scale=0.0), HostBirth(1)])
    for e in range(3):
        fleet.germinate(e, 0, SeedBirth("conv_light", 2, lr_scale=0.0 if e == 0 else 1.0))
    fleet.set_blend(torch.ones(3, 2), torch.zeros(3, 2, dtype=torch.bool))
    hosts, seeds = [fleet.named_host(e) for e in range(3)], [fleet.named_seed(e, 0) for e in range(3)]
    images, labels = draw(3, 16)
    fleet.train_step(images, labels, torch.tensor([0.1, 0.1, 0.0]))
    moved = [not torch.equal(fleet.named_host(e)["conv0"], hosts[e]["conv0"]) for e in range(3)]
    assert moved == [True, False, False]
    assert [not torch.equal(fleet.named_seed(e, 0)["conv"], seeds[e]["conv"]) for e in range(3)] == [False, True, False]


def test_seeds_are_counted_where_they_are_present() -> None:
    fleet = Fleet(CONFIG, 2)
    fleet.germinate(1, 0, SeedBirth("conv_light", 0))
    fleet.germinate(1, 1, SeedBirth("norm", 0))
    assert fleet.parameter_counts().tolist() == [[0, 0], [592, 33]]
    fleet.remove(1, 0)
    assert fleet.parameter_counts().tolist() == [[0, 0], [0, 33]]
    fleet.reset([1], [HostBirth(0)])
    assert fleet.parameter_counts().sum() == 0


def test_a_short_last_batch_is_weighed_by_its_images() -> None:
    fleet, twin = Fleet(CONFIG, 1), Fleet(CONFIG, 1)
    images, labels = draw(1, 5)
    whole = fleet.train_epoch(images, labels, torch.tensor([[0, 1, 2, 3, 4]]), batch_size=3, lr=torch.zeros(1))
    parts = [twin.train_step(images[:, a:b], labels[:, a:b], torch.zeros(1)) for a, b in ((0, 3), (3, 5))]
    expected = (3 * parts[0].loss + 2 * parts[1].loss) / 5
    torch.testing.assert_close(whole.loss, expected)
    torch.testing.assert_close(whole.accuracy, (3 * parts[0].accuracy + 2 * parts[1].accuracy) / 5)
    torch.testing.assert_close(whole.host_grad_norm, (parts[0].host_grad_norm + parts[1].host_grad_norm) / 2)


@pytest.mark.parametrize("n_hosts", [1, 2, 3, 15, 16, 17, 64, 100])
@pytest.mark.parametrize("name", ["grouped", "looped"])
def test_every_host_runs_in_exactly_one_pass(name: str, n_hosts: int) -> None:
    engine = make_engine(name, "fp32", HostConfig(), n_hosts, torch.device("cpu"))
    passes = engine.passes(n_hosts, 32)
    assert [h for s in passes for h in range(s.start, s.stop)] == list(range(n_hosts))
    if name == "looped":
        assert len(passes) == n_hosts


def test_auto_groups_small_hosts_and_loops_large_ones_on_a_cpu() -> None:
    assert Fleet(HostConfig(), 16).engine.name == "grouped"
    assert Fleet(HostConfig(), 1).engine.name == "looped"
    assert Fleet(HostConfig.spec(), 4).engine.name == "looped"


def _refused() -> dict[str, tuple[Callable[[Fleet], object], str]]:
    images, labels = draw(2, 4)
    order, lr = torch.zeros(2, 4, dtype=torch.long), torch.zeros(2)
    none = torch.full((2,), -1)
    return {
        "occupied": (lambda f: f.germinate(0, 0, SeedBirth("norm", 1)), "already has a seed"),
        "no such site": (lambda f: f.germinate(0, 2, SeedBirth("norm", 1)), r"0\.\.1"),
        "no such host": (lambda f: f.germinate(2, 0, SeedBirth("norm", 1)), r"0\.\.1"),
        "nothing there": (lambda f: f.remove(1, 0), "has no seed"),
        "births": (lambda f: f.reset([0, 1], [HostBirth(0)]), "one birth per host"),
        "blend": (lambda f: f.set_blend(torch.zeros(2), torch.zeros(2, 2).bool()), r"\(2, 2\)"),
        "images": (lambda f: f.evaluate(images[:, :, :2], labels, none), "images must be"),
        "labels": (lambda f: f.evaluate(images, labels[:1], none), "images must be"),
        "no images": (lambda f: f.evaluate(images[:, :0], labels[:, :0], none), "images must be"),
        "dtype": (lambda f: f.evaluate(images.double(), labels, none), "float32"),
        "live site": (lambda f: f.evaluate(images, labels, none[:1]), "live_site"),
        "keep": (lambda f: f.evaluate_committed(images, labels, torch.zeros(2, 3).bool()), "keep"),
        "order": (lambda f: f.train_epoch(images, labels, order[:1], batch_size=2, lr=lr), "order must be"),
        "lr": (lambda f: f.train_epoch(images, labels, order, batch_size=2, lr=lr[:1]), "lr"),
        "batch size": (lambda f: f.train_epoch(images, labels, order, batch_size=0, lr=lr), "batch_size"),
    }


@pytest.mark.parametrize("case", _refused())
def test_what_cannot_be_served_is_refused_in_one_line(case: str) -> None:
    fleet = Fleet(CONFIG, 2)
    fleet.germinate(0, 0, SeedBirth("norm", 0))
    act, message = _refused()[case]
    with pytest.raises(ConfigError, match=message) as error:
        act(fleet)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"engine": "fast"}, "grouped, looped"), ({"precision": "int8"}, "fp32, bf16"), ({"n_hosts": 0}, "positive")],
)
def test_an_impossible_fleet_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Fleet(CONFIG, **({"n_hosts": 2} | arguments))  # type: ignore[arg-type] # wrong on purpose
