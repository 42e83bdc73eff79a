"""A fleet: N hosts that train at once, each with its own weights, data, seeds and fate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError, ConfigError
from ..seeds.blueprints import SeedBirth
from ..seeds.rows import Named, Rows, named_row
from .banks import Bank, Seeds
from .cnn import HostBirth, HostConfig, host_network, host_row
from .cohort import Cohort, Epoch, EpochStats
from .engines import Engine, make_engine
from .evaluation import Evaluation, evaluate_cohort
from .optimiser import OptimConfig

EVALUATION_CHUNK = 64  # images per host that are evaluated at a time


class Fleet:
    """N hosts in lockstep; host e's numbers depend on its own births and inputs alone.

    Args:
        host: form of every host.
        n_hosts: N.
        engine: `grouped`, `looped` or `auto` (see `engines`).
        precision: `fp32`, `bf16` (autocast) or `fp64` (for proofs); images come in the same, fp32 for `bf16`.
        optim: settings of the hosts' and seeds' optimiser.
        device: where the fleet lives.
    """

    def __init__(
        self,
        host: HostConfig,
        n_hosts: int,
        *,
        engine: str = "auto",
        precision: str = "fp32",
        optim: OptimConfig = OptimConfig(),  # noqa: B008 - frozen
        device: torch.device | str = "cpu",
    ) -> None:
        if n_hosts < 1:
            raise ConfigError(f"n_hosts must be positive: got {n_hosts}")
        self.host, self.n_hosts, self.n_sites = host, n_hosts, len(host.channels)
        self.optim, self.device = optim, torch.device(device)
        self.engine: Engine = make_engine(engine, precision, host, n_hosts, self.device)
        blank = host_row(host, HostBirth(seed=0))
        self._alpha = torch.zeros(n_hosts, self.n_sites, device=self.device, dtype=self.engine.dtype)
        self._hosts = blank.take(torch.zeros(n_hosts, dtype=torch.long)).to(self._alpha)
        self._seeds = Seeds(host.channels, self._alpha)
        self._incubating = torch.zeros(n_hosts, self.n_sites, dtype=torch.bool, device=self.device)
        self.finite = torch.ones(n_hosts, dtype=torch.bool, device=self.device)

    def reset(self, indices: Sequence[int], births: Sequence[HostBirth]) -> None:
        """Start hosts `indices` anew: new weights and buffers, no momentum, no seeds, no fault."""
        if len(indices) != len(births):
            raise ConfigError(f"reset needs one birth per host: got {len(indices)} hosts and {len(births)} births")
        for index, birth in zip(indices, births):
            self._check_host(index)
            self._hosts.put(index, host_row(self.host, birth).to(self._alpha))
            self.finite[index] = True
        self._seeds.drop(indices)

    def germinate(self, host: int, site: int, birth: SeedBirth) -> None:
        """Put a new seed at a free site of a host."""
        self._check_host(host, site)
        if (host, site) in self._seeds.occupied:
            raise ConfigError(f"host {host} already has a seed ({self._seeds.occupied[host, site]}) at site {site}")
        self._seeds.germinate(host, site, birth)

    def remove(self, host: int, site: int) -> None:
        """Take the seed at a site of a host out again."""
        self._find(host, site)
        self._seeds.drop([host], site)

    def set_blend(self, alpha: Tensor, incubating: Tensor) -> None:
        """Set each seed's weight alpha (float [N, S], 0..1) and whether it incubates (bool [N, S]); read where a seed is present."""
        if alpha.shape != self._alpha.shape or incubating.shape != self._incubating.shape:
            raise ConfigError(
                f"alpha and incubating must be {tuple(self._alpha.shape)}: got {tuple(alpha.shape)} and {tuple(incubating.shape)}"
            )
        self._alpha.copy_(alpha)
        self._incubating.copy_(incubating)

    def train_step(self, images: Tensor, labels: Tensor, lr: Tensor) -> EpochStats:
        """Take one step on images [N, B, C, H, W], labels [N, B] at each host's base rate lr [N]."""
        order = torch.arange(labels.shape[1], device=labels.device).expand(self.n_hosts, -1)
        return self.train_epoch(images, labels, order, batch_size=labels.shape[1], lr=lr)

    @torch.no_grad()
    def train_epoch(
        self, images: Tensor, labels: Tensor, order: Tensor, *, batch_size: int, lr: Tensor
    ) -> EpochStats:
        """Train every host on its own images in its own order, `batch_size` images a step (the last step takes what is left).

        images [N, K, C, H, W], labels int64 [N, K], order int64 [N, M] (indices into K), lr float [N].
        """
        parts = [
            Epoch(cohort, lr[s], self.optim).train(images[s], labels[s], order[s], batch_size)
            for s, cohort in self._cohorts(batch_size)
        ]
        return EpochStats(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(EpochStats)))

    def evaluate(self, images: Tensor, labels: Tensor, live_site: Tensor) -> Evaluation:
        """Evaluate every host, and once more with its live seed switched.

        images [N, V, C, H, W], labels int64 [N, V]; live_site int64 [N], the site of the live seed or -1.
        """
        acting = torch.ones_like(self._incubating)
        return self._evaluate(images, labels, live_site, acting)

    def evaluate_committed(self, images: Tensor, labels: Tensor, keep: Tensor) -> Evaluation:
        """Evaluate every host with only the seeds in `keep` (bool [N, S]) acting."""
        none = torch.full((self.n_hosts,), -1, dtype=torch.long, device=self.device)
        return self._evaluate(images, labels, none, keep)

    def parameter_counts(self) -> Tensor:
        """Return int64 [N, S]: parameters of each present seed, 0 elsewhere."""
        return self._seeds.parameter_counts(self.n_hosts)

    @property
    def host_parameters(self) -> int:
        """Parameters of one host without seeds."""
        return self.host.parameters

    def select(self, indices: Sequence[int]) -> Fleet:
        """Return a new fleet whose host i is an exact, independent copy of host indices[i] (repeats allowed)."""
        for index in indices:
            self._check_host(index)
        new = Fleet.__new__(Fleet)
        new.__dict__.update(self.__dict__)
        new.n_hosts = len(indices)
        at = torch.tensor(list(indices), dtype=torch.long, device=self.device)
        new._hosts, new._seeds = self._hosts.take(at), self._seeds.take(list(indices))
        new._alpha, new._incubating, new.finite = self._alpha[at], self._incubating[at], self.finite[at]
        return new

    def fork(self, indices: Sequence[int]) -> Fleet:
        """Return a new fleet of exact copies of the hosts `indices`: with equal later inputs, equal later numbers."""
        return self.select(indices)

    def named_host(self, host: int) -> Named:
        """Return name -> copy of a host's parameters and running statistics."""
        self._check_host(host)
        return named_row(self._hosts.span(host, host + 1), host_network(self.host).shapes())

    def named_seed(self, host: int, site: int) -> Named:
        """Return name -> copy of a seed's parameters and running statistics."""
        bank, at = self._find(host, site)
        return named_row(bank.rows.span(at, at + 1), bank.network.shapes())

    def state_dict(self) -> dict[str, Any]:
        """Return the fleet's whole state as tensors and plain values (views, not copies)."""
        banks = [
            {"blueprint": b.name, "site": b.site, "hosts": list(b.hosts), "rows": b.rows.tensors()}
            for b in self._seeds.banks.values()
        ]
        own = {"alpha": self._alpha, "incubating": self._incubating, "finite": self.finite}
        return {"hosts": self._hosts.tensors(), "banks": banks, **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of a fleet of equal form and size.

        Raises:
            CheckpointError: the state belongs to a fleet of another form or size.
        """
        mine, new = self._hosts.tensors(), state["hosts"]
        shapes = {n: tuple(t.shape) for n, t in mine.items()}
        if shapes != {n: tuple(t.shape) for n, t in new.items()}:
            raise CheckpointError("the saved fleet has another form or size than this one")
        copy = {n: t.to(self.device, copy=True) for n, t in new.items()}
        seeds = Seeds(self.host.channels, self._alpha)
        for saved in state["banks"]:
            rows = Rows.from_tensors({n: t.to(self.device, copy=True) for n, t in saved["rows"].items()})
            name, site, hosts = saved["blueprint"], saved["site"], list(saved["hosts"])
            seeds.banks[name, site] = Bank(name, site, self.host.channels[site], hosts, rows)
            seeds.occupied |= {(h, site): name for h in hosts}
        self._hosts, self._seeds = Rows.from_tensors(copy), seeds
        for name in ("alpha", "incubating"):
            getattr(self, f"_{name}").copy_(state[name])
        self.finite.copy_(state["finite"])

    def _find(self, host: int, site: int) -> tuple[Bank, int]:
        self._check_host(host, site)
        if (host, site) not in self._seeds.occupied:
            raise ConfigError(f"host {host} has no seed at site {site}")
        bank = self._seeds.banks[self._seeds.occupied[host, site], site]
        return bank, bank.hosts.index(host)

    def _check_host(self, host: int, site: int = 0) -> None:
        if not 0 <= host < self.n_hosts or not 0 <= site < self.n_sites:
            raise ConfigError(
                f"host and site must be in 0..{self.n_hosts - 1} and 0..{self.n_sites - 1}: got {host} and {site}"
            )

    def _cohorts(self, images: int) -> Iterator[tuple[slice, Cohort]]:
        """Yield each pass's hosts and their cohort; `images` per host run at a time."""
        for s in self.engine.passes(self.n_hosts, images):
            banks = [b for b in (bank.span(s.start, s.stop) for bank in self._seeds.banks.values()) if b]
            rows = self._hosts.span(s.start, s.stop)
            alpha, incubating, alive = self._alpha[s], self._incubating[s], self.finite[s]
            dtype, alike = self.engine.activation_dtype, self.engine.name == "grouped"
            yield s, Cohort(self.host, rows, banks, alpha, incubating, alive, dtype, alike)

    @torch.no_grad()
    def _evaluate(self, images: Tensor, labels: Tensor, live_site: Tensor, acting: Tensor) -> Evaluation:
        parts = [
            evaluate_cohort(cohort, images[s], labels[s], live_site[s], acting[s], EVALUATION_CHUNK)
            for s, cohort in self._cohorts(EVALUATION_CHUNK)
        ]
        return Evaluation(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Evaluation)))
