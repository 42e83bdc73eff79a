"""What a controller has to find out: the host's deficit and the quality of each seed that stands."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from tamiyo_trl.seeds.blueprints import SeedBirth


@dataclass
class Hidden:
    """The hidden facts of E hosts with S sites.

    Attributes:
        deficit: Number of the host's deficit in its family, int64 [E].
        dead_share: Share of dead units of the seed at every site, float32 [E, S]; 0 where none stands.
        lr_scale: Factor on its learning rate, float32 [E, S]; 1 where none stands.
        init_scale: Factor on its last layer's initial weights, float32 [E, S]; 1 where none stands.
    """

    deficit: Tensor
    dead_share: Tensor
    lr_scale: Tensor
    init_scale: Tensor

    @classmethod
    def blank(cls, n_hosts: int, n_sites: int) -> Hidden:
        """Return hosts of the first deficit, without seeds."""
        sites = torch.ones(n_hosts, n_sites)
        return cls(torch.zeros(n_hosts, dtype=torch.long), torch.zeros_like(sites), sites, sites.clone())

    @property
    def is_dud(self) -> Tensor:
        """Whether a seed stands there of which every unit is dead, bool [E, S]."""
        return self.dead_share >= 1.0

    def begin(self, host: int, deficit: int) -> None:
        """Note the deficit of a new host, which has no seeds."""
        self.deficit[host] = deficit
        self.clear(host, slice(None))

    def plant(self, host: int, site: int, birth: SeedBirth) -> None:
        """Note the quality of a new seed."""
        self.dead_share[host, site] = birth.dead_share
        self.lr_scale[host, site] = birth.lr_scale
        self.init_scale[host, site] = birth.init_scale

    def clear(self, host: int, site: int | slice) -> None:
        """Forget the seed at a site."""
        self.dead_share[host, site] = 0.0
        self.lr_scale[host, site] = self.init_scale[host, site] = 1.0

    def clone(self) -> Hidden:
        """Return a copy that shares nothing."""
        return Hidden(**{item.name: getattr(self, item.name).clone() for item in fields(self)})
