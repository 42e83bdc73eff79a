"""What cannot be served is refused by name, and the model, the optimiser and the Grower stay as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from tamiyo_trl.errors import CheckpointError, ConfigError, IllegalActionError, SpecError, TamiyoError
from tamiyo_trl.grow import Grower, GrowthSite, GrowthSpace
from tamiyo_trl.policies import Heuristic, NeverGrow
from tests.grow.nets import Net, batch, make_net, measure

FINE = {"train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5}


def picture(net: nn.Module, optimizer: Optimizer, grower: Grower | None = None) -> str:
    """Return everything that must not change, as text."""
    torch.set_printoptions(threshold=10_000_000)
    books = "" if grower is None else str(grower.state_dict())
    return str((str(net), net.state_dict(), optimizer.state_dict(), books))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_loss": float("nan")}, "val_loss must be finite: got nan"),
        ({"train_loss": float("inf")}, "train_loss must be finite: got inf"),
        ({"val_accuracy": None}, "val_accuracy is missing"),
        ({"train_accuracy": 87.5}, "train_accuracy must be a fraction 0..1: got 87.5"),
        ({"train_loss": -1.0}, "train_loss must not be negative: got -1"),
        ({"val_loss": "0.4 nats"}, "val_loss must be a number: got '0.4 nats'"),
        ({"val_loss": torch.ones(2)}, "val_loss must be a number"),
    ],
)
def test_a_measurement_that_cannot_be_right_is_refused(changes: dict[str, Any], message: str) -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
    grower = Grower(net, optimizer, lambda seen, legal: (1, 0, 0), epochs=12)
    measure(net, optimizer, 1)
    before = picture(net, optimizer, grower)
    with pytest.raises(ConfigError, match=message):
        grower.step(**(FINE | changes))
    assert picture(net, optimizer, grower) == before
    grower.step(**FINE)  # and it goes on


def test_step_is_called_once_after_every_epoch() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05)
    grower = Grower(net, optimizer, NeverGrow(), epochs=8)
    with pytest.raises(ConfigError, match="not trained since the last step"):
        grower.step(**FINE)
    for epoch in range(1, 9):
        grower.step(**measure(net, optimizer, epoch))
        if epoch < 8:
            with pytest.raises(ConfigError, match="not trained since the last step"):
                grower.step(**FINE)
    measure(net, optimizer, 9)
    before = picture(net, optimizer, grower)
    with pytest.raises(ConfigError, match="after epoch 8, the last"):
        grower.step(**FINE)
    assert picture(net, optimizer, grower) == before
    grower.finish()
    with pytest.raises(ConfigError, match="after finish"):
        grower.step(**FINE)
    with pytest.raises(ConfigError, match="begin comes before"):
        grower.begin(val_loss=1.0, val_accuracy=0.1)


class Forgetful(Net):
    """Has a site that its forward does not run."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.site0(torch.relu(self.norm(self.stem(x))))
        return self.head(self.site2(torch.relu(self.body(x)).mean((2, 3))))


def test_a_site_that_is_never_run_is_named() -> None:
    net = Forgetful()
    optimizer = SGD(net.parameters(), lr=0.05)
    grower = Grower(net, optimizer, NeverGrow(), epochs=12)
    told = measure(net, optimizer, 1)
    before = picture(net, optimizer, grower)
    with pytest.raises(ConfigError, match="no activation passed site1 in training"):
        grower.step(**told)
    assert picture(net, optimizer, grower) == before


def test_a_site_of_another_width_is_named_where_it_runs() -> None:
    net = make_net()
    net.site1 = GrowthSite(16)
    optimizer = SGD(net.parameters(), lr=0.05)
    grower = Grower(net.eval(), optimizer, NeverGrow(), epochs=12)
    before = picture(net, optimizer, grower)
    with pytest.raises(SpecError, match=r"site1 is for activations \[B, 16, H, W\]: got \[16, 8, 4, 4\]"):
        net(batch(0)[0])
    assert picture(net, optimizer, grower) == before


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ((1, 0, 99), r"\(1, 0, 99\) is outside of \(4, 3, 7\)"),
        ((2, 1, 0), "FOSSILIZE at site 1 .* the site is DORMANT"),
        ((1, 2, 3), "GERMINATE conv_light at site 2 .* no such seed fits there"),
    ],
)
def test_a_rule_that_chooses_what_is_not_legal_changes_nothing(action: tuple[int, int, int], message: str) -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05)
    grower = Grower(net, optimizer, lambda seen, legal: action, epochs=12)
    told = measure(net, optimizer, 1)
    before = picture(net, optimizer, grower)
    with pytest.raises(IllegalActionError, match=message):
        grower.step(**told)
    assert picture(net, optimizer, grower) == before


def grown(net: Net) -> Net:
    net.site0.plant(nn.Identity())
    return net


SNAPSHOT = GrowthSpace(observation="snapshot")
BAD: dict[str, tuple[Callable[[Net], dict[str, Any]], str]] = {
    "no site": (lambda net: {"model": nn.Linear(2, 2)}, "no GrowthSite"),
    "a site alone": (lambda net: {"model": GrowthSite(2)}, "itself a GrowthSite"),
    "grown already": (lambda net: {"model": grown(net)}, "without seeds: there is one at site0"),
    "unknown site": (lambda net: {"sites": ("site7",)}, "of site0, site1, site2: got site7"),
    "too many sites": (lambda net: {"space": GrowthSpace(sites=2)}, r"knows 2 sites, the model has 3 \(site0"),
    "nothing fits": (lambda net: {"space": GrowthSpace(blueprints=("lossy",))}, "nothing can be planted at site2"),
    "too short": (lambda net: {"epochs": 6}, "one seed life of 7: got 6"),
    "LBFGS": (lambda net: {"optimizer": torch.optim.LBFGS(net.parameters())}, "LBFGS keeps one state"),
    "no optimiser": (lambda net: {"optimizer": net.parameters()}, "torch.optim.Optimizer: got generator"),
    "another's": (lambda net: {"optimizer": SGD(make_net().parameters(), lr=1.0)}, "trains another model"),
    "no such group": (lambda net: {"seed_group": 1}, "seed_group must be in 0..0: got 1"),
    "no controller": (lambda net: {"controller": "lstm-minimal"}, "controller must be"),
    "no counterfactual": (lambda net: {"space": SNAPSHOT, "controller": Heuristic(SNAPSHOT)}, "give evaluate="),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_together_is_refused_at_construction(name: str) -> None:
    changes, message = BAD[name]
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05)
    settings: dict[str, Any] = {"model": net, "optimizer": optimizer, "controller": NeverGrow(), "epochs": 12}
    settings |= changes(net)
    before = picture(net, optimizer)
    with pytest.raises(TamiyoError, match=message):
        Grower(settings.pop("model"), settings.pop("optimizer"), settings.pop("controller"), **settings)
    assert picture(net, optimizer) == before


def test_a_space_of_unknown_words_is_refused() -> None:
    with pytest.raises(ConfigError, match="register_blueprint adds one"):
        GrowthSpace(blueprints=("orchid",))
    with pytest.raises(ConfigError, match="observation must be one of"):
        GrowthSpace(observation="everything")
    with pytest.raises(ConfigError, match="sites must be positive"):
        GrowthSpace(sites=0)


def test_a_state_is_loaded_into_a_new_grower_of_the_same_sites_alone() -> None:
    def make(sites: tuple[str, ...] = ()) -> tuple[Grower, Optimizer]:
        net = make_net()
        optimizer = SGD(net.parameters(), lr=0.05)
        return Grower(net, optimizer, NeverGrow(), epochs=12, sites=sites), optimizer

    grower, optimizer = make()
    grower.step(**measure(grower.model, optimizer, 1))
    state = copy.deepcopy(grower.state_dict())
    with pytest.raises(CheckpointError, match="before its first step"):
        grower.load_state_dict(state)
    with pytest.raises(CheckpointError, match="of a model with sites"):
        make(("site0", "site2"))[0].load_state_dict(state)


def test_there_is_nothing_to_plot_before_the_first_step(tmp_path: Any) -> None:
    net = make_net()
    grower = Grower(net, SGD(net.parameters(), lr=0.05), NeverGrow(), epochs=12)
    with pytest.raises(ConfigError, match="nothing to plot"):
        grower.plot(tmp_path / "nothing.png")
