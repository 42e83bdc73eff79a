"""The model as a garden: its growth sites by number, and what is planted there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.grow.space import GrowthSpace
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.factories import FACTORIES, factory_of, make_seed
from tamiyo_trl.seeds.site import GrowthSite

Planted = tuple[int, str, int]  # site, blueprint, number of the germination


class Garden:
    """The sites of one model, numbered in the order in which the model declares them.

    Args:
        model: Holds the sites.
        sites: Names of those to use; all where empty.
        seed: Root of the seeds' initial weights.

    Attributes:
        names: Name of every site in the model.
        planted: Seeds that stand, in the order in which they were planted.
        parameters: Parameters of the model without seeds.

    Raises:
        ConfigError: no site, an unknown one, one with a seed already, or a model wrapped for DDP.
    """

    def __init__(self, model: nn.Module, sites: Sequence[str], seed: int) -> None:
        if any(isinstance(module, DistributedDataParallel) for module in model.modules()):
            raise ConfigError(
                "the model is wrapped by DistributedDataParallel: give the Grower the model inside, and wrap it after; "
                "wrap it again whenever a step has changed it"
            )
        if isinstance(model, GrowthSite):
            raise ConfigError("the model is itself a GrowthSite: put it in a module that holds more than it")
        found = {name: module for name, module in model.named_modules() if isinstance(module, GrowthSite)}
        if not found:
            raise ConfigError("the model has no GrowthSite: put one where it may grow")
        unknown = [name for name in sites if name not in found]
        if unknown or len(set(sites)) < len(sites):
            raise ConfigError(f"sites must be distinct and of {', '.join(found)}: got {', '.join(sites)}")
        self._sites = {name: found[name] for name in (sites or found)}
        grown = [name for name, site in found.items() if site.seed is not None]
        if grown:
            raise ConfigError(f"a Grower begins with a model without seeds: there is one at {', '.join(grown)}")
        self.model, self._seed = model, seed
        self.planted: list[Planted] = []
        self.host_parameters = list(model.parameters())
        self.parameters = sum(p.numel() for p in self.host_parameters)
        if not self.parameters:
            raise ConfigError("the model has no parameters")
        for name, site in self._sites.items():
            site.name, site.was_trained = name, False

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every site in the model."""
        return tuple(self._sites)

    @property
    def device(self) -> torch.device:
        """Where the first of the model's parameters lives."""
        return self.host_parameters[0].device

    @property
    def added_parameters(self) -> int:
        """Parameters of all seeds that stand."""
        return sum(p.numel() for number, _, _ in self.planted for p in self.seed_parameters(number))

    @property
    def live(self) -> list[int]:
        """Numbers of the sites whose seed is not decided on."""
        return [n for n, site in enumerate(self._sites.values()) if site.seed and site.stage != Stage.FOSSILIZED]

    def available(self, space: GrowthSpace) -> Tensor:
        """Return which blueprints can be planted at which site, bool [S, K].

        Raises:
            ConfigError: the model has more sites than the controller knows, or a site that nothing can be planted at.
        """
        if len(self._sites) > space.sites:
            raise ConfigError(
                f"the controller knows {space.sites} sites, the model has {len(self._sites)} "
                f"({', '.join(self._sites)}): name those to use with sites="
            )
        table = torch.zeros(space.sites, len(space.blueprints), dtype=torch.bool)
        for number, (name, site) in enumerate(self._sites.items()):
            table[number] = torch.tensor([(kind, site.form) in FACTORIES for kind in space.blueprints])
            if not bool(table[number].any()):
                known = ", ".join(space.blueprints)
                raise ConfigError(
                    f"nothing can be planted at {name}: none of {known} is a blueprint for {site.form}; "
                    "register_blueprint adds one"
                )
        return table

    def plant(self, number: int, blueprint: str, born: int) -> list[nn.Parameter]:
        """Plant a seed at a site; return its parameters."""
        site = self._at(number)
        factory = factory_of(blueprint, site.form)
        site.plant(make_seed(factory, site.channels, derive_seed(self._seed, "germination", born)))
        self.planted.append((number, blueprint, born))
        return self.seed_parameters(number)

    def remove(self, number: int) -> list[nn.Parameter]:
        """Take the seed at a site out; return what its parameters were."""
        gone = self.seed_parameters(number)
        self._at(number).remove()
        self.planted = [item for item in self.planted if item[0] != number]
        return gone

    def show(self, number: int, stage: Stage, alpha: float) -> None:
        """Set what the network sees of a site's seed."""
        self._at(number).show(stage, alpha)

    def seed_parameters(self, number: int) -> list[nn.Parameter]:
        """Return the parameters of the seed at a site; none without one, or without a site (-1)."""
        seed = self._at(number).seed if number >= 0 else None
        return list(seed.parameters()) if seed is not None else []

    def measure_switched(self, number: int, evaluate: Callable[[nn.Module], float]) -> float:
        """Return what `evaluate` makes of the model with the seed at a site switched; modes are left as they were."""
        modes = [(module, module.training) for module in self.model.modules()]
        with self._at(number).switched():
            accuracy = evaluate(self.model)
        for module, training in modes:
            module.training = training
        return accuracy

    def check_trained(self) -> None:
        """Check that the model was trained since `forget_trained`, through every site.

        Raises:
            ConfigError: it was not.
        """
        idle = [name for name, site in self._sites.items() if not site.was_trained]
        if len(idle) == len(self._sites):
            raise ConfigError("the model was not trained since the last step: step is called once after every epoch")
        if idle:
            raise ConfigError(f"no activation passed {', '.join(idle)} in training: the model's forward must run it")

    def forget_trained(self) -> None:
        """Let a new epoch begin."""
        for site in self._sites.values():
            site.was_trained = False

    def dissolve(self) -> None:
        """Put the kept seed in the place of every site, `nn.Identity` where there is none."""
        # A site may stand in several places, of which named_modules tells the first alone.
        places = [
            (parent, name, module)
            for parent in self.model.modules()
            for name, module in parent._modules.items()
            if isinstance(module, GrowthSite)
        ]
        for parent, name, site in places:
            setattr(parent, name, nn.Identity() if site.seed is None else site.seed)

    def _at(self, number: int) -> GrowthSite:
        return self._sites[self.names[number]]
