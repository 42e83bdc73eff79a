"""How the different kinds of controller choose: a trained one, a policy, or a function of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from tamiyo_trl.grow.ledger import Ledger
from tamiyo_trl.grow.seat import Action, Player
from tamiyo_trl.grow.space import GrowthSpace
from tamiyo_trl.grow.trained import TrainedController

Rule: TypeAlias = Callable[[Mapping[str, float], Tensor], Action]
Controller: TypeAlias = TrainedController | TensorDictModuleBase | Rule


class Chooser(Protocol):
    """Chooses from the books; remembers a choice once it was carried out."""

    def __call__(self, books: Ledger) -> tuple[Action, TensorDictBase | None]:
        """Return the action, and what `remember` takes."""
        ...

    def remember(self, seen: TensorDictBase | None) -> None:
        """Let the next choice follow this one."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what it remembers as plain data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...


class RuleChooser:
    """A function of somebody's own, which remembers for itself."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def __call__(self, books: Ledger) -> tuple[Action, None]:
        """Return what the function makes of the named observation and the mask."""
        seen = dict(zip(books.space.feature_names, books.observation[0].tolist()))
        op, site, kind = self._rule(seen, books.mask[0].clone())
        return (int(op), int(site), int(kind)), None

    def remember(self, seen: TensorDictBase | None) -> None:
        """Nothing is kept here."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing is kept here."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is kept here."""


class PolicyChooser:
    """A policy in its seat."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self.state_dict, self.load_state_dict = player.state_dict, player.load_state_dict

    def __call__(self, books: Ledger) -> tuple[Action, TensorDictBase]:
        """Return the policy's sample, and all that it saw and wrote."""
        return self._player.choose(books.observation, books.mask, books.epoch)

    def remember(self, seen: TensorDictBase | None) -> None:
        """Let the next choice follow this one."""
        if seen is not None:
            self._player.remember(seen)


def make_chooser(controller: Controller, space: GrowthSpace, seed: int) -> Chooser:
    """Return what chooses for this controller."""
    if isinstance(controller, TrainedController):
        return PolicyChooser(Player(space, controller.policy, controller.transforms(), seed))
    if isinstance(controller, TensorDictModuleBase):
        return PolicyChooser(Player(space, controller, seed=seed))
    return RuleChooser(controller)
