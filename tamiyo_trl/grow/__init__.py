"""Grow anybody's network in anybody's training loop: sites in the model, a controller that decides, trained ones."""

from tamiyo_trl.grow.grower import Grower
from tamiyo_trl.grow.plot import GrowthStep
from tamiyo_trl.grow.space import GrowthSpace
from tamiyo_trl.grow.trained import Card, TrainedController, load_controller, shipped_controllers
from tamiyo_trl.seeds.factories import register_blueprint
from tamiyo_trl.seeds.site import GrowthSite

__all__ = [
    "Card",
    "Grower",
    "GrowthSite",
    "GrowthSpace",
    "GrowthStep",
    "TrainedController",
    "load_controller",
    "register_blueprint",
    "shipped_controllers",
]
