"""The engine `modules`: N hosts of any network, one after the other under autograd: slow, and for anything.

The interface is the fleet's, and for the built-in host so are the numbers, to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from tamiyo_trl.errors import CheckpointError, ConfigError
from tamiyo_trl.hosts.cnn import HostBirth
from tamiyo_trl.hosts.cohort import EpochStats
from tamiyo_trl.hosts.counterfactual import Evaluation
from tamiyo_trl.lockstep.optimiser import OptimConfig
from tamiyo_trl.seeds.blueprints import SeedBirth
from tamiyo_trl.seeds.lifecycle import Stage
from tamiyo_trl.seeds.site import GrowthSite
from tamiyo_trl.seeds.twins import born_module, hold_dead_units

MODULES = "modules"  # what configurations call this engine
EVALUATION_CHUNK = 256  # images at a time
Make = Callable[[HostBirth], nn.Module]


class ModuleHost:
    """One host, its seeds and their optimisers.

    Attributes:
        births: How the seed at each occupied site was born.
    """

    def __init__(self, module: nn.Module, birth: HostBirth, optim: OptimConfig) -> None:
        self.module, self.birth, self._optim = module, birth, optim
        self.sites = [site for site in module.modules() if isinstance(site, GrowthSite)]
        self.own = [p for p in module.parameters() if p.requires_grad]
        self.parameters = sum(p.numel() for p in module.parameters())
        self.births: dict[int, SeedBirth] = {}
        self.optimisers: dict[int, SGD] = {-1: self._sgd(self.own)}  # by site; -1 is the host's own

    def _sgd(self, parameters: list[nn.Parameter]) -> SGD:
        return SGD(parameters, lr=0.0, momentum=self._optim.momentum, weight_decay=self._optim.weight_decay)

    def germinate(self, site: int, birth: SeedBirth) -> None:
        """Put a new seed at a free site."""
        seed = born_module(birth, self.sites[site].channels, self.sites[site].form)
        self.sites[site].plant(seed)
        self.births[site], self.optimisers[site] = birth, self._sgd(list(seed.parameters()))

    def remove(self, site: int) -> None:
        """Take a seed out."""
        self.sites[site].remove()
        del self.births[site], self.optimisers[site]

    def step(self, images: Tensor, labels: Tensor, lr: float) -> tuple[float, int, dict[int, float]]:
        """Take one step; return loss, correct images and gradient norms (-1 the host's own); no step if not finite."""
        self.module.train()
        for site, optimiser in self.optimisers.items():
            scale = self.birth.lr_scale if site < 0 else self.births[site].lr_scale
            optimiser.param_groups[0]["lr"] = lr * scale
            optimiser.zero_grad(set_to_none=True)
        logits = self.module(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        norms = {site: _norm(optimiser) for site, optimiser in self.optimisers.items()}
        if torch.isfinite(loss) and all(torch.isfinite(torch.tensor(norm)) for norm in norms.values()):
            for optimiser in self.optimisers.values():
                optimiser.step()
        return float(loss.detach()), int((logits.argmax(1) == labels).sum()), norms

    @torch.no_grad()
    def measure(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        self.module.eval()
        loss, correct = 0.0, 0
        for own, target in zip(images.split(EVALUATION_CHUNK), labels.split(EVALUATION_CHUNK)):
            logits = self.module(own)
            loss += float(F.cross_entropy(logits, target, reduction="sum"))
            correct += int((logits.argmax(1) == target).sum())
        return loss / len(labels), correct / len(labels)

    def copy(self) -> ModuleHost:
        """Return an independent copy."""
        new = copy.deepcopy(self)
        for site, birth in new.births.items():
            seed = new.sites[site].seed
            if seed is not None and new.sites[site].form == "map":
                hold_dead_units(seed, birth, new.sites[site].channels)
        return new

    def state_dict(self) -> dict[str, Any]:
        """Return copies of everything as plain data."""
        return copy.deepcopy(
            {
                "birth": vars(self.birth),
                "births": {site: vars(birth) for site, birth in self.births.items()},
                "module": self.module.state_dict(),
                "optimisers": {site: optimiser.state_dict() for site, optimiser in self.optimisers.items()},
            }
        )

    def load(self, state: dict[str, Any]) -> None:
        """Take over the state of a host of this form, into one without seeds."""
        for site, birth in state["births"].items():
            self.germinate(site, SeedBirth(**birth))
        self.module.load_state_dict(state["module"])
        for site, optimiser in self.optimisers.items():
            optimiser.load_state_dict(copy.deepcopy(state["optimisers"][site]))


class ModuleFleet:
    """N hosts of any network, with a Fleet's interface.

    Args:
        make: Returns a new host, a function of its birth.
        n_hosts: N.
        precision: `fp32` or `fp64`.
        optim: Settings of the hosts' and seeds' optimiser.
        device: Where the hosts live.

    Attributes:
        n_sites: S, the growth sites of the network.
        finite: bool [N]; False for a host that diverged: it no longer trains until it is reset.

    Raises:
        ConfigError: here and in every method, an argument that cannot be served.
    """

    def __init__(
        self,
        make: Make,
        n_hosts: int,
        *,
        precision: str = "fp32",
        optim: OptimConfig = OptimConfig(),  # noqa: B008 - frozen
        device: torch.device | str = "cpu",
    ) -> None:
        if n_hosts < 1 or precision not in ("fp32", "fp64"):
            raise ConfigError(f"n_hosts must be positive and precision fp32 or fp64: got {n_hosts}, {precision!r}")
        self.make, self.n_hosts, self.optim, self.device = make, n_hosts, optim, torch.device(device)
        self._dtype = torch.float64 if precision == "fp64" else torch.float32
        self._hosts = [self._born(HostBirth(seed=0)) for _ in range(n_hosts)]
        self.n_sites = len(self._hosts[0].sites)
        self.finite = torch.ones(n_hosts, dtype=torch.bool, device=self.device)

    def _born(self, birth: HostBirth) -> ModuleHost:
        return ModuleHost(self.make(birth).to(self.device, self._dtype), birth, self.optim)

    # ---- births and blends -----------------------------------------------------------------------------------------

    def reset(self, indices: Sequence[int], births: Sequence[HostBirth]) -> None:
        """Start hosts `indices` anew: new weights, no momentum, no seeds, no fault."""
        for index, birth in zip(indices, births, strict=True):
            self._hosts[index] = self._born(birth)
            self.finite[index] = True

    def germinate(self, host: int, site: int, birth: SeedBirth) -> None:
        """Put a new seed at a free site of a host."""
        self._hosts[host].germinate(site, birth)

    def remove(self, host: int, site: int) -> None:
        """Take the seed at a site of a host out again."""
        if site not in self._hosts[host].births:
            raise ConfigError(f"host {host} has no seed at site {site}")
        self._hosts[host].remove(site)

    def set_blend(self, alpha: Tensor, incubating: Tensor) -> None:
        """Set what is read where a seed is present: its weight alpha, float [N, S], and whether it incubates."""
        for host, weights, hidden in zip(self._hosts, alpha.tolist(), incubating.tolist()):
            for site in host.births:
                host.sites[site].show(Stage.TRAINING if hidden[site] else Stage.BLENDING, weights[site])

    # ---- training and evaluation -----------------------------------------------------------------------------------

    def train_epoch(self, images: Tensor, labels: Tensor, order: Tensor, *, batch_size: int, lr: Tensor) -> EpochStats:
        """Train every host on its own images in its own order; shapes as for `Fleet.train_epoch`."""
        stats = EpochStats.zeros(torch.zeros(self.n_hosts, self.n_sites, device=self.device, dtype=self._dtype))
        for e, host in enumerate(self._hosts):
            picks = order[e].split(batch_size)
            for pick in picks if bool(self.finite[e]) else ():
                loss, correct, norms = host.step(images[e, pick], labels[e, pick], float(lr[e]))
                stats.loss[e] += loss * len(pick) / order.shape[1]
                stats.accuracy[e] += correct / order.shape[1]
                for site, norm in norms.items():
                    place = stats.host_grad_norm[e : e + 1] if site < 0 else stats.seed_grad_norm[e, site : site + 1]
                    place += norm / len(picks)
                values = torch.tensor([loss, *norms.values()])
                self.finite[e] &= bool(values.isfinite().all())
                if not bool(self.finite[e]):
                    break
        return stats

    def evaluate(self, images: Tensor, labels: Tensor, live_site: Tensor) -> Evaluation:
        """Evaluate every host, and once more with its live seed (int64 [N], -1 for none) switched."""
        plain, other = [], []
        for e, (host, site) in enumerate(zip(self._hosts, live_site.tolist())):
            plain.append(host.measure(images[e], labels[e]))
            if site < 0:
                other.append(plain[-1])
                continue
            with host.sites[site].switched():
                other.append(host.measure(images[e], labels[e]))
        return self._evaluation(plain, other)

    def evaluate_committed(self, images: Tensor, labels: Tensor, keep: Tensor) -> Evaluation:
        """Evaluate every host with only the seeds in `keep` (bool [N, S]) acting."""
        plain = []
        for e, host in enumerate(self._hosts):
            copied = host.copy()
            for site in [site for site in copied.births if not bool(keep[e, site])]:
                copied.remove(site)
            plain.append(copied.measure(images[e], labels[e]))
        return self._evaluation(plain, plain)

    def _evaluation(self, plain: list[tuple[float, float]], other: list[tuple[float, float]]) -> Evaluation:
        columns = [*zip(*plain), *zip(*other)]
        return Evaluation(*(torch.tensor(column, device=self.device, dtype=self._dtype) for column in columns))

    # ---- what it holds, and state as data --------------------------------------------------------------------------

    def parameter_counts(self) -> Tensor:
        """Return int64 [N, S]: parameters of each present seed, 0 elsewhere."""
        counts = torch.zeros(self.n_hosts, self.n_sites, dtype=torch.long)
        for e, host in enumerate(self._hosts):
            for site in host.births:
                counts[e, site] = sum(p.numel() for p in host.sites[site].parameters())
        return counts

    @property
    def host_parameters(self) -> int:
        """Parameters of one host without seeds."""
        return self._hosts[0].parameters

    def module(self, host: int) -> nn.Module:
        """Return one host's network; it goes on training with the fleet."""
        return self._hosts[host].module

    def select(self, indices: Sequence[int]) -> ModuleFleet:
        """Return a new fleet of independent copies of these hosts, in this order."""
        return self.fork(indices)

    def fork(self, indices: Sequence[int]) -> ModuleFleet:
        """Return a new fleet of exact, independent copies; a host may be copied several times."""
        new = ModuleFleet.__new__(ModuleFleet)
        new.__dict__.update(self.__dict__)
        new._hosts = [self._hosts[index].copy() for index in indices]
        new.n_hosts, new.finite = len(indices), self.finite[list(indices)].clone()
        return new

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the whole state as plain data."""
        return {"hosts": [host.state_dict() for host in self._hosts], "finite": self.finite.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of a fleet of equal form and size.

        Raises:
            CheckpointError: the state is damaged or of another form or size; nothing has changed then.
        """
        try:
            if len(state["hosts"]) != self.n_hosts:
                raise CheckpointError(f"the saved fleet has {len(state['hosts'])} hosts, not {self.n_hosts}")
            hosts = [self._born(HostBirth(**saved["birth"])) for saved in state["hosts"]]
            for host, saved in zip(hosts, state["hosts"]):
                host.load(saved)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"the saved fleet does not fit: {error}") from error
        self._hosts, self.finite = hosts, state["finite"].clone()


def _norm(optimiser: SGD) -> float:
    gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
