"""A fleet's seed as a module: the same numbers under the same names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tamiyo_trl.lockstep.rows import named_row
from tamiyo_trl.seeds.blueprints import BLUEPRINTS, SeedBirth, seed_network, seed_row
from tamiyo_trl.seeds.factories import Form, factory_of, make_seed


def module_tensor(module: nn.Module, name: str) -> Tensor:
    """Return the parameter or running statistic of a module that rows call `name`.

    Rows call a layer's only weight by the layer's name, and statistics `mean` and `var`.
    """
    kind, _, part = name.partition(".")
    member = getattr(module, kind)
    if isinstance(member, nn.Parameter):
        return member
    return getattr(member, {"mean": "running_mean", "var": "running_var", "": "weight"}.get(part, part))


@torch.no_grad()
def load_named(module: nn.Module, named: Mapping[str, Tensor]) -> None:
    """Copy parameters and statistics by their rows' names into a module."""
    for name, value in named.items():
        own = module_tensor(module, name)
        own.copy_(value.reshape(own.shape))


def born_module(birth: SeedBirth, channels: int, form: Form = "map") -> nn.Module:
    """Return a new seed for C channels as a module, a function of its arguments alone.

    A map's blueprint that the fleet knows has the very numbers of `seed_row`, dead units included. Another one is made
    by its factory and is sound: the hidden quality of `birth` but for its learning rate says nothing of it.
    """
    module = make_seed(factory_of(birth.blueprint, form), channels, birth.seed)
    if birth.blueprint not in BLUEPRINTS or form != "map":
        return module
    row, shapes = seed_row(birth, channels), seed_network(birth.blueprint, channels).shapes()
    load_named(module, named_row(row, shapes))
    hold_dead_units(module, birth, channels)
    return module


def hold_dead_units(module: nn.Module, birth: SeedBirth, channels: int) -> None:
    """Let the dead units of a seed never train; a copy of a module needs this anew, for hooks are not copied."""
    if birth.blueprint not in BLUEPRINTS or not birth.dead_share:
        return
    row, shapes = seed_row(birth, channels), seed_network(birth.blueprint, channels).shapes()
    masks = row.trainable.split([torch.Size(shape).numel() for shape in shapes.values()], dim=1)
    for name, mask in zip(shapes, masks):
        if not bool(mask.all()):
            own = module_tensor(module, name)
            own.register_hook(_masked(mask.reshape(own.shape)))


class _masked:  # noqa: N801 - a function with a value: hooks of this kind can be copied and pickled
    """Zero the gradient where a unit is dead."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient * self.mask.to(gradient)
