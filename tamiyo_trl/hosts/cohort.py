"""A cohort: n hosts with their seeds, as views into a fleet's state, trained and run in one pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..seeds.blending import Members, graft, tap
from ..seeds.rows import Named, Rows, as_rows, split_rows
from .banks import Bank
from .cnn import HostConfig, block, head, to_rows
from .optimiser import OptimConfig, gradient_norms, move, velocities


@dataclass(frozen=True)
class EpochStats:
    """What training measured: means over the epoch's images (loss in nats, accuracy 0..1) and over its steps (gradient norms).

    Shapes: loss, accuracy, host_grad_norm float [N]; seed_grad_norm float [N, S], 0 where there is no seed.
    """

    loss: Tensor
    accuracy: Tensor
    host_grad_norm: Tensor
    seed_grad_norm: Tensor

    @staticmethod
    def zeros(like: Tensor) -> EpochStats:
        """Return empty sums for hosts and sites as in `like` [n, S]."""
        loss, correct, norm = (torch.zeros_like(like[:, 0]) for _ in range(3))
        return EpochStats(loss, correct, norm, torch.zeros_like(like))


def run_seeds(bank: Bank, h: Tensor, p: Named, buffers: Named, training: bool, alone: bool) -> Tensor:
    """Return the seeds' outputs for h [B, m*C, H, W].

    A single seed among several hosts runs as a pair with its own copy: grouped kernels give a group the same bits for every number of groups from two up, but
    not for one, and a seed's numbers must not depend on who else grows one.
    """
    if len(next(iter(p.values()))) > 1 or alone:
        return bank.blueprint.apply(h, p, buffers, training)
    twice = {name: torch.cat([v, v.detach()]) for name, v in p.items()}
    buffers_twice = {name: b.repeat(2, 1) for name, b in buffers.items()}
    # Doubled and halved in memory order: gradients must come back in channels_last too.
    pair = as_rows(h, 1).expand(-1, 2, -1).reshape(h.shape[0], *h.shape[2:], -1).permute(0, 3, 1, 2)
    out = bank.blueprint.apply(pair, twice, buffers_twice, training)
    for name, b in buffers.items():
        b.copy_(buffers_twice[name][:1])
    return as_rows(out, 2)[:, 0].view(h.shape[0], *h.shape[2:], -1).permute(0, 3, 1, 2)


@dataclass
class Cohort:
    """n hosts that run together.

    Attributes:
        config: form of the hosts.
        optim: settings of the optimiser.
        hosts: the hosts' rows.
        banks: banks of the hosts' seeds, hosts counted from 0.
        alpha: float [n, S], weight of each seed's output.
        incubating: bool [n, S].
        alive: bool [n]; cleared, in place, for a host whose loss, gradient or next weights are not finite.
    """

    config: HostConfig
    optim: OptimConfig
    hosts: Rows
    banks: list[Bank]
    alpha: Tensor
    incubating: Tensor
    alive: Tensor
    every: Tensor = field(init=False)
    index: list[Tensor] = field(init=False)
    members: list[Members] = field(init=False)

    def __post_init__(self) -> None:
        device = self.alpha.device
        self.every = torch.arange(len(self.alpha), device=device)
        self.index = [torch.tensor(bank.hosts, device=device) for bank in self.banks]
        self.members = [
            Members.of(i, self.alpha[i, b.site], self.incubating[i, b.site]) for i, b in zip(self.index, self.banks)
        ]

    def logits(self, x: Tensor, values: Tensor, bank_values: list[Tensor]) -> Tensor:
        """Return training logits [n, B, classes] for x [B, n*C, H, W] with the parameters `values` [n, P] and each bank's."""
        n, p = len(self.hosts), split_rows(values, self.config.shapes)
        for site, kind in enumerate(self.config.downsample):
            x = block(x, p, self.hosts.buffers, site, kind, training=True)
            here = [i for i, bank in enumerate(self.banks) if bank.site == site]
            if here:
                members = [self.members[i] for i in here]
                x, *taken = tap(x, n, members)
                grown = []
                for i, h in zip(here, taken):
                    bank = self.banks[i]
                    named = split_rows(bank_values[i], bank.blueprint.shapes(bank.channels))
                    h = h if len(self.members[i].mixed) else h.detach()
                    grown.append(run_seeds(bank, h, named, bank.rows.buffers, True, n == 1))
                x = graft(x, n, members, grown)
        return head(x, p)

    def train_epoch(self, images: Tensor, labels: Tensor, order: Tensor, batch_size: int, lr: Tensor) -> EpochStats:
        """Train one epoch in `order` (int64 [n, M]) over images [n, K, C, H, W], labels [n, K], at base rates lr [n]."""
        sums, total = EpochStats.zeros(self.alpha), order.shape[1]
        steps = range(0, total, batch_size)
        for start in steps:
            pick = order[:, start : start + batch_size]
            self._train_batch(to_rows(images, pick), labels.gather(1, pick), lr, sums)
        return EpochStats(
            sums.loss / total, sums.accuracy / total, sums.host_grad_norm / len(steps), sums.seed_grad_norm / len(steps)
        )

    def _train_batch(self, x: Tensor, labels: Tensor, lr: Tensor, sums: EpochStats) -> None:
        """Take one optimiser step on x [B, n*C, H, W], labels [n, B], and add what was measured to `sums`."""
        leaves = [rows.values.detach().requires_grad_() for rows in (self.hosts, *(b.rows for b in self.banks))]
        logits = self.logits(x, leaves[0], leaves[1:])
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        loss = losses.mean(1)
        grads = torch.autograd.grad(loss.sum(), leaves)
        with torch.no_grad():
            host_norm, seed_norm = gradient_norms(self.hosts, grads[0]), torch.zeros_like(self.alpha)
            for bank, index, grad in zip(self.banks, self.index, grads[1:]):
                seed_norm[index, bank.site] = gradient_norms(bank.rows, grad)
            self.alive &= loss.isfinite() & lr.isfinite() & host_norm.isfinite() & seed_norm.isfinite().all(1)
            groups = [(self.hosts, self.every), *((b.rows, i) for b, i in zip(self.banks, self.index))]
            moves = [velocities(rows, grad, self.optim) for (rows, _), grad in zip(groups, grads)]
            for (_, index), (_, finite) in zip(groups, moves):
                self.alive[index] &= finite
            for (rows, index), (velocity, _) in zip(groups, moves):
                move(rows, velocity, lr[index], self.alive[index])
            sums.loss.add_(loss, alpha=labels.shape[1])
            sums.accuracy.add_((logits.argmax(2) == labels).sum(1))
            sums.host_grad_norm.add_(host_norm)
            sums.seed_grad_norm.add_(seed_norm)
