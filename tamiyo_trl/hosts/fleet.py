"""A fleet: N hosts that train at once, each with its own weights, data, seeds and fate."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from tamiyo_trl.errors import CheckpointError, ConfigError
from tamiyo_trl.hosts.banks import Seeds
from tamiyo_trl.hosts.cnn import HostBirth, HostConfig, host_network, host_row
from tamiyo_trl.hosts.cohort import Cohort, Epoch, EpochStats
from tamiyo_trl.hosts.counterfactual import Evaluation, evaluate_cohort
from tamiyo_trl.hosts.engines import make_engine
from tamiyo_trl.hosts.state import describe, restore
from tamiyo_trl.lockstep.optimiser import OptimConfig
from tamiyo_trl.lockstep.rows import Named, named_row
from tamiyo_trl.seeds.blueprints import SeedBirth


class Fleet:
    """N hosts in lockstep; host e's numbers are a function of its own births and inputs alone.

    Under the `grouped` engine they are so to the last bit whatever N is and whatever the others do, for widths that are
    multiples of 8; under `looped` for every width. The two engines agree to rounding.

    Args:
        host: Form of every host.
        n_hosts: N.
        engine: `grouped`, `looped` or `auto` (see `engines`).
        precision: `fp32`, `bf16` or `fp64` (see `engines`). Images come in fp64 for `fp64`, else in fp32.
        optim: Settings of the hosts' and seeds' optimiser.
        device: Where the fleet lives; its inputs live there too.

    Attributes:
        n_sites: S, one site after every block.
        finite: bool [N]; False for a host that diverged: it no longer trains until it is reset.

    Raises:
        ConfigError: here and in every method, an argument that cannot be served.
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
        self.engine = make_engine(engine, precision, host, n_hosts, self.device)
        self.finite = torch.ones(n_hosts, dtype=torch.bool, device=self.device)
        self._alpha = torch.zeros(n_hosts, self.n_sites, device=self.device, dtype=self.engine.dtype)
        self._incubating = torch.zeros(n_hosts, self.n_sites, dtype=torch.bool, device=self.device)
        newborn = host_row(host, HostBirth(seed=0))
        self._hosts = newborn.take(torch.zeros(n_hosts, dtype=torch.long)).to(self._alpha)
        self._seeds = Seeds(host.channels, self._alpha)

    # ---- births and blends -----------------------------------------------------------------------------------------

    def reset(self, indices: Sequence[int], births: Sequence[HostBirth]) -> None:
        """Start hosts `indices` anew: new weights and statistics, no momentum, no seeds, no fault."""
        if len(indices) != len(births):
            raise ConfigError(f"reset needs one birth per host: got {len(indices)} hosts and {len(births)} births")
        self._check_hosts(indices)
        for index, birth in zip(indices, births):
            self._hosts.put(index, host_row(self.host, birth).to(self._alpha))
            self.finite[index] = True
        self._seeds.drop(indices)

    def germinate(self, host: int, site: int, birth: SeedBirth) -> None:
        """Put a new seed at a free site of a host."""
        self._check_hosts([host], site)
        if (host, site) in self._seeds.occupied:
            raise ConfigError(f"host {host} already has a seed ({self._seeds.occupied[host, site]}) at site {site}")
        self._seeds.germinate(host, site, birth)

    def remove(self, host: int, site: int) -> None:
        """Take the seed at a site of a host out again."""
        self._blueprint_at(host, site)
        self._seeds.drop([host], site)

    def set_blend(self, alpha: Tensor, incubating: Tensor) -> None:
        """Set what is read where a seed is present: its weight alpha and whether it incubates.

        alpha: float [N, S], 0..1; incubating: bool [N, S].
        """
        wanted, found = tuple(self._alpha.shape), (tuple(alpha.shape), tuple(incubating.shape))
        if found != (wanted, wanted):
            raise ConfigError(f"alpha and incubating must be {wanted}: got {found[0]} and {found[1]}")
        self._alpha.copy_(alpha)
        self._incubating.copy_(incubating)

    # ---- training and evaluation -----------------------------------------------------------------------------------

    def train_step(self, images: Tensor, labels: Tensor, lr: Tensor) -> EpochStats:
        """Take one optimiser step on images [N, B, C, H, W], labels [N, B] at each host's base rate lr [N]."""
        order = torch.arange(labels.shape[1], device=labels.device).expand(self.n_hosts, -1)
        return self.train_epoch(images, labels, order, batch_size=labels.shape[1], lr=lr)

    @torch.no_grad()
    def train_epoch(self, images: Tensor, labels: Tensor, order: Tensor, *, batch_size: int, lr: Tensor) -> EpochStats:
        """Train every host on its own images in its own order, `batch_size` images a step, the last with the rest.

        images [N, K, C, H, W], labels int64 [N, K], order int64 [N, M] (indices into K), lr float [N].
        """
        self._check_images(images, labels)
        if order.shape[0] != self.n_hosts or order.shape[1] < 1 or lr.shape != (self.n_hosts,) or batch_size < 1:
            raise ConfigError(
                f"order must be [{self.n_hosts}, M >= 1], lr [{self.n_hosts}], batch_size positive: "
                f"got {list(order.shape)}, {list(lr.shape)}, {batch_size}"
            )
        lr = lr.to(self._alpha)
        with torch.inference_mode():  # a tenth faster than no_grad: views need no bookkeeping
            parts = [
                Epoch(cohort, lr[s], self.optim).train(images[s], labels[s], order[s], batch_size)
                for s, cohort in self._cohorts(batch_size)
            ]
        return EpochStats(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(EpochStats)))

    def evaluate(self, images: Tensor, labels: Tensor, live_site: Tensor) -> Evaluation:
        """Evaluate every host, and once more with its live seed switched.

        images [N, V, C, H, W], labels int64 [N, V]; live_site int64 [N], the site of the live seed or -1.
        """
        return self._evaluate(images, labels, live_site, torch.ones_like(self._incubating))

    def evaluate_committed(self, images: Tensor, labels: Tensor, keep: Tensor) -> Evaluation:
        """Evaluate every host with only the seeds in `keep` (bool [N, S]) acting."""
        none = torch.full((self.n_hosts,), -1, dtype=torch.long, device=self.device)
        return self._evaluate(images, labels, none, keep)

    @torch.no_grad()
    def _evaluate(self, images: Tensor, labels: Tensor, live_site: Tensor, acting: Tensor) -> Evaluation:
        self._check_images(images, labels)
        if live_site.shape != (self.n_hosts,) or acting.shape != self._incubating.shape:
            raise ConfigError(
                f"live_site must be [{self.n_hosts}] and keep {list(self._incubating.shape)}: "
                f"got {list(live_site.shape)} and {list(acting.shape)}"
            )
        chunk = self.engine.evaluation_chunk
        with torch.inference_mode():
            parts = [
                evaluate_cohort(cohort, images[s], labels[s], live_site[s], acting[s], chunk)
                for s, cohort in self._cohorts(chunk)
            ]
        return Evaluation(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Evaluation)))

    def _cohorts(self, images: int) -> Iterator[tuple[slice, Cohort]]:
        """Yield each pass's hosts and their cohort; `images` per host run at a time."""
        for s in self.engine.passes(self.n_hosts, images):
            banks = [b for b in (bank.span(s.start, s.stop) for bank in self._seeds.banks.values()) if b]
            yield (
                s,
                Cohort(
                    config=self.host,
                    hosts=self._hosts.span(s.start, s.stop),
                    banks=banks,
                    alpha=self._alpha[s],
                    incubating=self._incubating[s],
                    alive=self.finite[s],
                    dtype=self.engine.activation_dtype,
                    batch_invariant=self.engine.name == "grouped",
                ),
            )

    # ---- what it holds ---------------------------------------------------------------------------------------------

    def parameter_counts(self) -> Tensor:
        """Return int64 [N, S]: parameters of each present seed, 0 elsewhere."""
        return self._seeds.parameter_counts(self.n_hosts)

    @property
    def host_parameters(self) -> int:
        """Parameters of one host without seeds."""
        return self.host.parameters

    def named_host(self, host: int) -> Named:
        """Return name -> copy of a host's parameters and running statistics."""
        self._check_hosts([host])
        return named_row(self._hosts.span(host, host + 1), host_network(self.host).shapes())

    def named_seed(self, host: int, site: int) -> Named:
        """Return name -> copy of a seed's parameters and running statistics."""
        bank = self._seeds.banks[self._blueprint_at(host, site), site]
        at = bank.hosts.index(host)
        return named_row(bank.rows.span(at, at + 1), bank.network.shapes())

    # ---- state is data ---------------------------------------------------------------------------------------------

    def select(self, indices: Sequence[int]) -> Fleet:
        """Return a new fleet of these hosts, each at most once, in this order: independent copies."""
        if len(set(indices)) < len(indices):
            raise ConfigError(f"select takes each host once (fork takes repeats): got {list(indices)}")
        return self.fork(indices)

    def fork(self, indices: Sequence[int]) -> Fleet:
        """Return a new fleet of exact, independent copies; a host may be copied several times.

        Nothing random is left in a host once it is born, so equal later inputs give a copy the original's later
        numbers.
        """
        if not indices:
            raise ConfigError("a fleet needs at least one host: got none")
        self._check_hosts(indices)
        at = torch.tensor(list(indices), dtype=torch.long, device=self.device)
        new = copy.copy(self)
        new.n_hosts = len(indices)
        new._hosts, new._seeds = self._hosts.take(at), self._seeds.take(list(indices))
        new._alpha, new._incubating, new.finite = self._alpha[at], self._incubating[at], self.finite[at]
        return new

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the whole state as plain data."""
        own = {"alpha": self._alpha.clone(), "incubating": self._incubating.clone(), "finite": self.finite.clone()}
        return describe(self._hosts, self._seeds) | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of a fleet of equal form and size.

        Raises:
            CheckpointError: the state is damaged or of another form or size; nothing has changed then.
        """
        hosts, seeds = restore(state, self.host, self.n_hosts, self._alpha)
        mine = {"alpha": self._alpha, "incubating": self._incubating, "finite": self.finite}
        for name, tensor in mine.items():
            if getattr(state.get(name), "shape", None) != tensor.shape:
                raise CheckpointError(f"{name} should be {list(tensor.shape)} in the saved fleet")
        for name, tensor in mine.items():
            tensor.copy_(state[name])
        self._hosts, self._seeds = hosts, seeds

    # ---- checks ----------------------------------------------------------------------------------------------------

    def _check_hosts(self, hosts: Sequence[int], site: int = 0) -> None:
        if not all(0 <= host < self.n_hosts for host in hosts) or not 0 <= site < self.n_sites:
            limits = f"0..{self.n_hosts - 1} and 0..{self.n_sites - 1}"
            raise ConfigError(f"hosts and sites must be in {limits}: got {list(hosts)} and {site}")

    def _blueprint_at(self, host: int, site: int) -> str:
        self._check_hosts([host], site)
        if (host, site) not in self._seeds.occupied:
            raise ConfigError(f"host {host} has no seed at site {site}")
        return self._seeds.occupied[host, site]

    def _check_images(self, images: Tensor, labels: Tensor) -> None:
        host, size = self.host, self.host.image_size
        wanted = (self.n_hosts, labels.shape[-1], host.in_channels, size, size)
        if tuple(images.shape) != wanted or labels.shape != (self.n_hosts, wanted[1]) or wanted[1] < 1:
            raise ConfigError(
                f"images must be [{self.n_hosts}, K, {host.in_channels}, {size}, {size}] and labels "
                f"[{self.n_hosts}, K]: got {list(images.shape)} and {list(labels.shape)}"
            )
        if images.dtype != self.engine.dtype:
            raise ConfigError(f"images must be {self.engine.dtype} for this fleet: got {images.dtype}")
