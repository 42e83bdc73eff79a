"""Blueprints by name as factories of ordinary modules, for maps and for features; `register_blueprint` adds your own.

A name may have a factory for either form or both: a controller that plants `wide` plants a convolution in a map and an
MLP among features.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import nn

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.seeds import feature_modules, map_modules

Form = Literal["map", "features"]
Factory = Callable[[int], nn.Module]
PROBES: dict[Form, tuple[int, ...]] = {"map": (2, 8, 6, 6), "features": (2, 3, 8)}  # an activation with C = 8

FACTORIES: dict[tuple[str, Form], Factory] = {
    ("norm", "map"): map_modules.Norm,
    ("attention", "map"): map_modules.Attention,
    ("depthwise", "map"): map_modules.Depthwise,
    ("conv_light", "map"): map_modules.ConvLight,
    ("conv_heavy", "map"): map_modules.ConvHeavy,
    ("wide", "map"): map_modules.Wide,
    ("lossy", "map"): map_modules.Lossy,
    ("norm", "features"): feature_modules.FeatureNorm,
    ("attention", "features"): feature_modules.FeatureAttention,
    ("bottleneck", "features"): feature_modules.bottleneck,
    ("wide", "features"): feature_modules.wide,
}


def register_blueprint(name: str, factory: Factory, form: Form = "map") -> None:
    """Let seeds of this name be planted: `factory(C)` returns a module that keeps the shape of what it is given.

    Worker processes import your script anew: register where it is imported, not under `if __name__ == "__main__"`.

    Args:
        name: What controllers and configurations call it.
        factory: C channels -> `nn.Module`; called anew for every seed.
        form: "map" for activations [B, C, H, W], "features" for [..., C].

    Raises:
        ConfigError: the name is another blueprint's, the form is unknown, or the module changes the shape.
    """
    if form not in PROBES:
        raise ConfigError(f"form must be one of {', '.join(PROBES)}: got {form!r}")
    if not name or not name.isprintable() or name != name.strip():
        raise ConfigError(f"a blueprint must have a printable name without outer blanks, got {name!r}")
    known = FACTORIES.get((name, form), factory)
    if _source(known) != _source(factory):  # a notebook's cell that is run again makes an equal function anew
        raise ConfigError(f"the name of blueprint {name!r} for {form} is taken; choose another")
    shape = PROBES[form]
    found = tuple(make_seed(factory, channels=8, seed=0)(torch.zeros(shape)).shape)
    if found != shape:
        raise ConfigError(f"blueprint {name!r} must keep the shape of its input: {shape} became {found}")
    FACTORIES[name, form] = factory


def make_seed(factory: Factory, channels: int, seed: int) -> nn.Module:
    """Return a new seed for C channels whose initial weights are a function of `seed`; global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "seed module"))
        return factory(channels)


def blueprints_for(form: Form) -> tuple[str, ...]:
    """Return the names of all blueprints of a form."""
    return tuple(name for name, own in FACTORIES if own == form)


def check_blueprints(names: Sequence[str]) -> None:
    """Check that there is a blueprint of each name, for maps or features.

    Raises:
        ConfigError: there is none, or a name is given twice, or none is given.
    """
    known = list(dict.fromkeys(name for name, _ in FACTORIES))
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        raise ConfigError(
            f"blueprints must be distinct, at least one, and of {', '.join(known)} (register_blueprint adds one): "
            f"got {', '.join(names) or 'none'}"
        )


def factory_of(name: str, form: Form) -> Factory:
    """Return the factory of a blueprint.

    Raises:
        ConfigError: there is no such blueprint for this form.
    """
    if (name, form) not in FACTORIES:
        raise ConfigError(f"a blueprint for {form} must be one of {', '.join(blueprints_for(form))}: got {name!r}")
    return FACTORIES[name, form]


def _source(factory: Factory) -> object:
    try:
        return inspect.getsource(factory)
    except (OSError, TypeError):  # built in a prompt, or an object that can be called
        return factory
