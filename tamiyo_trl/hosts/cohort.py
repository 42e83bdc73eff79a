"""A cohort: n hosts with their seeds, trained for one epoch in one pass per batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tamiyo_trl.hosts.banks import Bank
from tamiyo_trl.hosts.cnn import HostConfig, host_network, to_rows
from tamiyo_trl.lockstep.layers import Context, aten
from tamiyo_trl.lockstep.optimiser import OptimConfig, Optimiser
from tamiyo_trl.lockstep.rows import Named, Rows
from tamiyo_trl.seeds.blending import Members, blend, unblend


@dataclass(frozen=True)
class EpochStats:
    """What training measured: means over the epoch's images (loss, accuracy) and over its steps (gradient norms).

    Losses are in nats, accuracies 0..1.
    Shapes: loss, accuracy, host_grad_norm float [N]; seed_grad_norm float [N, S], 0 where there is no seed.
    """

    loss: Tensor
    accuracy: Tensor
    host_grad_norm: Tensor
    seed_grad_norm: Tensor

    @staticmethod
    def zeros(like: Tensor) -> EpochStats:
        """Return zeros for as many hosts and sites as in `like` [N, S]."""
        loss, accuracy, norm = (torch.zeros_like(like[:, 0]) for _ in range(3))
        return EpochStats(loss, accuracy, norm, torch.zeros_like(like))


@dataclass(frozen=True)
class Cohort:
    """n hosts that run together.

    Attributes:
        config: form of the hosts.
        hosts: the hosts' rows.
        banks: banks of the hosts' seeds, hosts counted from 0.
        alpha: float [n, S], weight of each seed's output.
        incubating: bool [n, S].
        alive: bool [n]; cleared, in place, for a host whose loss or gradient is not finite.
        dtype: of activations.
        batch_invariant: whether a row must have the same bits whatever runs beside it, also where nothing does.
    """

    config: HostConfig
    hosts: Rows
    banks: Sequence[Bank]
    alpha: Tensor
    incubating: Tensor
    alive: Tensor
    dtype: torch.dtype
    batch_invariant: bool

    def __len__(self) -> int:
        return len(self.hosts)

    def index(self, hosts: Sequence[int]) -> Tensor:
        """Return a list of numbers as an int64 tensor."""
        return torch.tensor(hosts, dtype=torch.long, device=self.alpha.device)

    def is_lone_row(self, rows: int) -> bool:
        """Return whether so many rows need `Context.lone_row`."""
        return self.batch_invariant and rows == 1


class BankRun:
    """A bank in training: which rows it reads, how it is blended, and what it is run with."""

    def __init__(self, cohort: Cohort, bank: Bank, parameters: Named) -> None:
        self.site, self.network, self.hosts = bank.site, bank.network, cohort.index(bank.hosts)
        alpha, incubating = (t[self.hosts, bank.site] for t in (cohort.alpha, cohort.incubating))
        self.members = Members.of(self.hosts, alpha, incubating)
        self.ctx = Context(parameters, bank.rows.buffers, training=True, lone_row=cohort.is_lone_row(len(bank.hosts)))

    def backward(self, g: Tensor) -> Tensor:
        """Run the seeds backward; the gradient of what they read is worked out only where the host hears one."""
        return self.network.backward(g, self.ctx, needs_input_grad=self.members.any_active)


class Epoch:
    """One epoch of a cohort: `train` takes it through all batches and stores the result."""

    def __init__(self, cohort: Cohort, lr: Tensor, optim: OptimConfig) -> None:
        self.cohort, self.n = cohort, len(cohort)
        self.network = host_network(cohort.config)
        every, banks = cohort.index(range(self.n)), cohort.banks
        self.owners = torch.cat([every, *(cohort.index(b.hosts) for b in banks)])
        groups = [(cohort.hosts, self.network.shapes()), *((b.rows, b.network.shapes()) for b in banks)]
        self.rows = [rows for rows, _ in groups]
        self.optimiser = Optimiser(groups, lr.index_select(0, self.owners), optim)
        own, *grown = self.optimiser.parameters
        self.ctx = Context(own, cohort.hosts.buffers, training=True, lone_row=cohort.is_lone_row(self.n))
        self.banks = [BankRun(cohort, bank, parameters) for bank, parameters in zip(banks, grown)]
        sites = range(len(self.network.blocks))
        self.at_site = [[b for b in self.banks if b.site == site] for site in sites]
        cohort.alive.logical_and_(lr.isfinite())
        self._check_state()

    def train(self, images: Tensor, labels: Tensor, order: Tensor, batch_size: int) -> EpochStats:
        """Train in `order` (int64 [n, M]) over images [n, K, C, H, W], labels [n, K]."""
        sums, total = EpochStats.zeros(self.cohort.alpha), order.shape[1]
        norms = sums.loss.new_zeros(len(self.owners))
        steps = range(0, total, batch_size)
        for start in steps:
            pick = order[:, start : start + batch_size]
            x = to_rows(images, pick).to(self.cohort.dtype)
            loss, correct, norm = self._step(x, labels.gather(1, pick))
            sums.loss.add_(loss, alpha=pick.shape[1])
            sums.accuracy.add_(correct)
            norms.add_(norm)
        self.optimiser.write_back()
        self._check_state()
        host_norm, *seed_norms = (norms / len(steps)).split([self.n, *(len(b.hosts) for b in self.banks)])
        for bank, norm in zip(self.banks, seed_norms):
            sums.seed_grad_norm[bank.hosts, bank.site] = norm
        return EpochStats(sums.loss / total, sums.accuracy / total, host_norm, sums.seed_grad_norm)

    def _check_state(self) -> None:
        """Give up hosts whose weights or momentum, or those of their seeds, are not finite."""
        fine = torch.cat([rows.is_finite() for rows in self.rows])
        self.cohort.alive[self.owners[~fine]] = False

    def _step(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take one step on x [n, B, H, W, C], labels [n, B]; return loss [n], correct [n] and gradient norms [R]."""
        logits = self._forward(x)
        target, batch = labels.unsqueeze(2), labels.shape[1]
        log_p = F.log_softmax(logits, 2)
        loss = -log_p.gather(2, target).squeeze(2).mean(1)
        grad_logits = torch.zeros_like(log_p).scatter_(2, target, -1.0 / batch)
        self._backward(aten._log_softmax_backward_data(grad_logits, log_p, 2, log_p.dtype))
        grad, norms = self.optimiser.gather([self.ctx.grads, *(b.ctx.grads for b in self.banks)])
        alive = self.cohort.alive
        alive &= loss.isfinite()
        alive &= torch.zeros_like(loss).index_add_(0, self.owners, norms).isfinite()  # norms are not negative
        self.optimiser.step(grad, alive.index_select(0, self.owners))
        return loss, (logits.argmax(2) == labels).sum(1), norms

    def _forward(self, x: Tensor) -> Tensor:
        """Return logits [n, B, classes]."""
        for block, banks in zip(self.network.blocks, self.at_site):
            x = block.forward(x, self.ctx)
            if banks:
                taken = [b.members.take(x) for b in banks]
                grown = [b.network.forward(h, b.ctx) for b, h in zip(banks, taken)]
                x = blend(x, [b.members for b in banks], taken, grown)
        return self.network.head.forward(x, self.ctx)

    def _backward(self, g: Tensor) -> None:
        """Leave every parameter's gradient in its run, for the logits' gradient g."""
        g = self.network.head.backward(g, self.ctx)
        blocks = list(enumerate(zip(self.network.blocks, self.at_site)))
        for site, (block, banks) in reversed(blocks):
            for b in banks:
                unblend(g, b.members, b.backward)
            g = block.backward(g, self.ctx, needs_input_grad=site > 0)
