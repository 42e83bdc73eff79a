"""The controllers that come with the package."""

from __future__ import annotations

import re

import pytest
from torch.optim import SGD

from tamiyo_trl.grow import Grower, load_controller, shipped_controllers
from tamiyo_trl.grow.trained import SHIPPED
from tests.grow.nets import make_net, measure, validate


@pytest.mark.parametrize("name", shipped_controllers())
def test_a_shipped_controller_loads_acts_and_has_a_card_of_its_own(name: str) -> None:
    controller = load_controller(name)
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.05)
    grower = Grower(net, optimizer, controller, epochs=25, evaluate=lambda m: validate(m)[1])
    grower.step(**measure(net, optimizer, 1))
    card = (SHIPPED / f"{name}.md").read_text()
    assert controller.card.name == name
    assert controller.card.command in card
    assert all(line in card for line in (*controller.card.held_out, *controller.card.limits))
    assert re.search(r"torch \d", card)


def test_what_is_shipped_is_small_and_covers_both_memories() -> None:
    assert {"lstm-minimal", "mlp-minimal"} <= set(shipped_controllers())
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 2_000_000
