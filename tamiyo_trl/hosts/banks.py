"""Banks: the seeds of one blueprint at one site, present members only, as rows in the order of their hosts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tamiyo_trl.lockstep.layers import Layer
from tamiyo_trl.lockstep.rows import Rows
from tamiyo_trl.seeds.blueprints import BLUEPRINTS, SeedBirth, seed_network, seed_row

BankKey = tuple[str, int]  # blueprint, site


@dataclass
class Bank:
    """Seeds of one blueprint at one site.

    Attributes:
        name: the blueprint's name.
        site: index of the site.
        channels: C at the site.
        hosts: the members' hosts, ascending.
        rows: the members' state, in the order of `hosts`.
    """

    name: str
    site: int
    channels: int
    hosts: list[int]
    rows: Rows

    @property
    def network(self) -> Layer:
        """The form of these seeds."""
        return seed_network(self.name, self.channels)

    def span(self, start: int, stop: int) -> Bank | None:
        """Return the members in hosts start..stop-1 as views, hosts renumbered from 0; None if there are none."""
        a, b = bisect_left(self.hosts, start), bisect_left(self.hosts, stop)
        if a == b:
            return None
        return Bank(self.name, self.site, self.channels, [h - start for h in self.hosts[a:b]], self.rows.span(a, b))

    def insert(self, host: int, row: Rows) -> None:
        """Add the seed `row` of `host`."""
        at, n = bisect_left(self.hosts, host), len(self.hosts)
        self.hosts.insert(at, host)
        self.rows = Rows.stack([self.rows.span(0, at), row, self.rows.span(at, n)])

    def drop(self, hosts: Sequence[int]) -> None:
        """Remove the seeds of `hosts` (those that are members)."""
        keep = [i for i, h in enumerate(self.hosts) if h not in set(hosts)]
        if len(keep) < len(self.hosts):
            self.rows = self.rows.take(torch.tensor(keep, dtype=torch.long, device=self.rows.values.device))
            self.hosts = [self.hosts[i] for i in keep]

    def take(self, hosts: Sequence[int]) -> Bank:
        """Return a copy in which new host i is old host hosts[i] (repeats allowed); it may have no members."""
        place = {h: i for i, h in enumerate(self.hosts)}
        new = [i for i, h in enumerate(hosts) if h in place]
        index = torch.tensor([place[hosts[i]] for i in new], dtype=torch.long, device=self.rows.values.device)
        return Bank(self.name, self.site, self.channels, new, self.rows.take(index))


class Seeds:
    """Every seed of a fleet: banks by (blueprint, site), and which sites of which hosts are occupied.

    channels: C at each site; like: a tensor with the device and dtype of the seeds.
    """

    def __init__(self, channels: Sequence[int], like: Tensor) -> None:
        self.channels, self.like = tuple(channels), like
        self.banks: dict[BankKey, Bank] = {}
        self.occupied: dict[tuple[int, int], str] = {}

    def germinate(self, host: int, site: int, birth: SeedBirth) -> None:
        """Add a new seed."""
        row = seed_row(birth, self.channels[site]).to(self.like)
        key = (birth.blueprint, site)
        if key in self.banks:
            self.banks[key].insert(host, row)
            self.occupied[host, site] = birth.blueprint
        else:
            self.adopt(Bank(birth.blueprint, site, self.channels[site], [host], row))

    def adopt(self, bank: Bank) -> None:
        """Add a bank, unless it has no members."""
        if bank.hosts:
            self.banks[bank.name, bank.site] = bank
            self.banks = dict(sorted(self.banks.items()))
            self.occupied |= {(h, bank.site): bank.name for h in bank.hosts}

    def drop(self, hosts: Sequence[int], site: int | None = None) -> None:
        """Remove the seeds of `hosts`, at one site or at all."""
        for key, bank in list(self.banks.items()):
            if site is None or bank.site == site:
                bank.drop(hosts)
                if not bank.hosts:
                    del self.banks[key]
        gone = set(hosts)
        self.occupied = {k: n for k, n in self.occupied.items() if not (k[0] in gone and site in (None, k[1]))}

    def take(self, hosts: Sequence[int]) -> Seeds:
        """Return a copy in which new host i is old host hosts[i]."""
        new = Seeds(self.channels, self.like)
        for bank in self.banks.values():
            new.adopt(bank.take(hosts))
        return new

    def parameter_counts(self, n_hosts: int) -> Tensor:
        """Return int64 [N, S]: parameters of the seed at each site of each host, 0 where there is none."""
        counts = torch.zeros(n_hosts, len(self.channels), dtype=torch.long)
        for (host, site), name in self.occupied.items():
            counts[host, site] = BLUEPRINTS[name].parameter_count(self.channels[site])
        return counts
