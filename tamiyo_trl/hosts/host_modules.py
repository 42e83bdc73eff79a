"""Hosts as ordinary modules: the built-in one, and any of your own by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamiyo_trl.errors import ConfigError
from tamiyo_trl.hosts.cnn import HostBirth, HostConfig, host_network, host_row
from tamiyo_trl.lockstep.rows import named_row
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.seeds.factories import factory_of
from tamiyo_trl.seeds.site import GrowthSite

BUILT_IN = "cnn"
HOSTS: dict[str, Callable[[], nn.Module]] = {}


class HostModule(nn.Module):
    """The built-in host: blocks of conv -> downsample -> norm -> ReLU, a site after each, mean, linear.

    The fleet computes the same network as rows; tests hold the two equal.
    """

    def __init__(self, config: HostConfig) -> None:
        super().__init__()
        self.kinds = config.downsample
        ins = (config.in_channels, *config.channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2 if kind == "stride" else 1, padding=1, bias=False)
            for i, o, kind in zip(ins, config.channels, config.downsample)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in config.channels)
        self.sites = nn.ModuleList(GrowthSite(o) for o in config.channels)
        self.head = nn.Linear(config.channels[-1], config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, classes] of images [B, C, H, W]."""
        for conv, norm, site, kind in zip(self.convs, self.norms, self.sites, self.kinds):
            x = conv(x)
            if kind == "pool":
                x = F.max_pool2d(x, 2)
            x = site(torch.relu(norm(x)))
        return self.head(x.mean((2, 3)))

    def tensor(self, name: str) -> Tensor:
        """Return the parameter or statistic that rows call `name` (conv0, norm0.weight, norm0.mean, head.bias, ...)."""
        kind, _, part = name.partition(".")
        if kind == "head":
            return getattr(self.head, part)
        index = int(kind.removeprefix("conv").removeprefix("norm"))
        if kind.startswith("conv"):
            return self.convs[index].weight  # type: ignore[return-value]  # of a Conv2d
        return getattr(self.norms[index], {"mean": "running_mean", "var": "running_var"}.get(part, part))


def born_host(config: HostConfig, birth: HostBirth) -> HostModule:
    """Return a new built-in host with the very numbers of `host_row`, its deficits included."""
    module, row = HostModule(config), host_row(config, birth)
    with torch.no_grad():
        for name, value in named_row(row, host_network(config).shapes()).items():
            module.tensor(name).copy_(value)
    if birth.stuck_block is not None:
        module.tensor(f"conv{birth.stuck_block}").requires_grad_(False)
    return module


def register_host(name: str, make: Callable[[], nn.Module]) -> None:
    """Let environments train copies of your own network as `GrowthConfig(host=name, engine="modules")`.

    `make()` returns a new network that holds `GrowthSite`s and takes images [B, C, H, W] to logits. Worker processes
    import your script anew: register where it is imported, not under `if __name__ == "__main__"`.

    Raises:
        ConfigError: the name is another host's, or the network has no site.
    """
    if name == BUILT_IN or not name or name != name.strip() or not name.isprintable():
        raise ConfigError(f"a host must have a printable name of its own without outer blanks, got {name!r}")
    known = HOSTS.get(name, make)
    if (known.__module__, known.__qualname__) != (make.__module__, make.__qualname__):
        raise ConfigError(f"the name of host {name!r} is taken; choose another")
    if not site_channels(make()):
        raise ConfigError(f"host {name!r} has no GrowthSite: put one where it may grow")
    HOSTS[name] = make


def site_channels(module: nn.Module) -> tuple[int, ...]:
    """Return C of every growth site, in the order in which the module declares them."""
    return tuple(site.channels for site in module.modules() if isinstance(site, GrowthSite))


def host_maker(name: str, config: HostConfig, blueprints: Sequence[str]) -> Callable[[HostBirth], nn.Module]:
    """Return what makes hosts of this name: the built-in one, or one that was registered.

    Raises:
        ConfigError: there is no such host, `config` has other channels than its sites, or one of the blueprints is not
            for one of them.
    """
    if name == BUILT_IN:
        return lambda birth: born_host(config, birth)
    if name not in HOSTS:
        raise ConfigError(f"host must be one of {', '.join((BUILT_IN, *HOSTS))}: got {name!r}")
    make = HOSTS[name]
    sample = make()
    found = site_channels(sample)
    for site in sample.modules():
        if isinstance(site, GrowthSite):
            for blueprint in blueprints:
                factory_of(blueprint, site.form)
    if found != config.channels:
        raise ConfigError(f"host {name!r} has sites of {found} channels: set channels to that, not {config.channels}")

    def born(birth: HostBirth) -> nn.Module:
        if birth.stuck_block is not None:
            raise ConfigError(f"host {name!r} has no block that could be stuck: take a family without such deficits")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(birth.seed, "host module"))
            return make()

    return born
