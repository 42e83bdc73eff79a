"""Evaluation of a cohort: as it is, and with each host's live seed switched, in one pass over shared prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tamiyo_trl.hosts.banks import Bank
from tamiyo_trl.hosts.cnn import host_network, to_rows
from tamiyo_trl.hosts.cohort import Cohort
from tamiyo_trl.lockstep.layers import Context, Layer
from tamiyo_trl.lockstep.rows import split_rows
from tamiyo_trl.seeds.blending import EACH


@dataclass(frozen=True)
class Evaluation:
    """Losses (nats) and accuracies (0..1) of N hosts, float [N] each.

    The counterfactual switches the live seed: off (alpha 0), or fully on (alpha 1) if it is incubating; without a live
        seed it repeats the plain figures.
    """

    loss: Tensor
    accuracy: Tensor
    counterfactual_loss: Tensor
    counterfactual_accuracy: Tensor


@dataclass(frozen=True)
class BankStep:
    """The seeds of one bank that one site needs.

    Attributes:
        network, ctx: the bank's form and parameters.
        rows: int64 [m], the rows its seeds read.
        active: int64 [k], positions in `rows` of the seeds that act.
        active_rows: int64 [k], the rows they act on.
        alpha: float [k, 1, 1, 1, 1].
        counterfactual: int64 [j], positions in `rows` of the incubating seeds that are turned on.
        counterfactual_rows: int64 [j], places of those among the site's new rows.
    """

    network: Layer
    ctx: Context
    rows: Tensor
    active: Tensor
    active_rows: Tensor
    alpha: Tensor
    counterfactual: Tensor
    counterfactual_rows: Tensor

    @staticmethod
    def of(cohort: Cohort, bank: Bank, owner: list[int], acts: list[bool], switched: list[int]) -> BankStep | None:
        """Return the step of a bank over rows whose hosts are `owner`, or None if it has nothing to do.

        acts: of each host, whether its seed at this site acts; switched: hosts whose counterfactual begins here.
        """
        place = {h: i for i, h in enumerate(bank.hosts)}
        turned_on = {h for h in switched if bool(cohort.incubating[h, bank.site])}
        need = [r for r, h in enumerate(owner) if h in place and (acts[h] or h in turned_on)]
        if not need:
            return None
        active = [i for i, r in enumerate(need) if acts[owner[r]]]
        counterfactual = [i for i, r in enumerate(need) if not acts[owner[r]]]
        seeds = [place[owner[r]] for r in need]
        network, index = bank.network, cohort.index
        picked = bank.rows.take(index(seeds))
        hosts, lone_row = [owner[need[i]] for i in active], cohort.is_lone_row(len(need))
        return BankStep(
            network=network,
            ctx=Context(split_rows(picked.values, network.shapes()), picked.buffers, False, lone_row),
            rows=index(need),
            active=index(active),
            active_rows=index([need[i] for i in active]),
            alpha=cohort.alpha[index(hosts), bank.site].view(EACH),
            counterfactual=index(counterfactual),
            counterfactual_rows=index([switched.index(owner[need[i]]) for i in counterfactual]),
        )


@dataclass(frozen=True)
class Part:
    """A block and its site's seeds for some rows."""

    block: Layer
    ctx: Context
    banks: Sequence[BankStep]

    def forward(self, x: Tensor, switched: Tensor) -> tuple[Tensor, Tensor]:
        """Return the activation [n, B, H, W, C] after the site, and the rows `switched` (int64 [j]) of it, switched."""
        x = self.block.forward(x, self.ctx)
        other = x.index_select(0, switched)
        for bank in self.banks:
            grown = bank.network.forward(x.index_select(0, bank.rows), bank.ctx)
            if len(bank.active):
                own, active = x.index_select(0, bank.active_rows), grown.index_select(0, bank.active)
                x.index_copy_(0, bank.active_rows, torch.lerp(own, active, bank.alpha.to(own.dtype)))
            if len(bank.counterfactual):
                other.index_copy_(0, bank.counterfactual_rows, grown.index_select(0, bank.counterfactual))
        return x, other


class CounterfactualPass:
    """What an evaluation of a cohort does, worked out once.

    The hosts run through all sites. Where a host has its live seed, a switched copy of it leaves; the copies run beside
    the hosts from there on.
    """

    def __init__(self, cohort: Cohort, live_site: Tensor, acting: Tensor) -> None:
        network, live, index = host_network(cohort.config), live_site.tolist(), cohort.index
        everyone = list(range(len(cohort)))
        own, added = RowSet(cohort, everyone), RowSet(cohort, [])
        self.stages: list[tuple[Part, Part | None, Tensor]] = []
        for site, block in enumerate(network.blocks):
            acts = (acting[:, site] & ~cohort.incubating[:, site]).tolist()
            switched = [h for h in everyone if live[h] == site]
            main = own.part(block, site, acts, switched)
            side = added.part(block, site, acts, []) if added.hosts else None
            self.stages.append((main, side, index(switched)))
            if switched:
                added = RowSet(cohort, added.hosts + switched)
        self.head, self.own, self.last, self.added = network.head, own.ctx, added.ctx, index(added.hosts)

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [n + m, B, classes] for x [n, B, H, W, C]: the hosts, then those `added`, switched."""
        copies: list[Tensor] = []
        for main, side, switched in self.stages:
            x, leaving = main.forward(x, switched)
            if side is not None:
                copies = [side.forward(torch.cat(copies), switched[:0])[0]]
            if len(switched):
                copies.append(leaving)
        parts = [self.head.forward(x, self.own)]
        if copies:
            parts.append(self.head.forward(torch.cat(copies), self.last))
        return torch.cat(parts)


class RowSet:
    """Rows of an evaluation: whose they are and the parameters that they run with."""

    def __init__(self, cohort: Cohort, hosts: list[int]) -> None:
        shapes = host_network(cohort.config).shapes()
        picked = cohort.hosts.take(cohort.index(hosts))
        self.cohort, self.hosts = cohort, hosts
        self.ctx = Context(split_rows(picked.values, shapes), picked.buffers, False, cohort.is_lone_row(len(hosts)))

    def part(self, block: Layer, site: int, acts: list[bool], switched: list[int]) -> Part:
        """Return the part that these rows have in a site; see `BankStep.of`."""
        banks = [b for b in self.cohort.banks if b.site == site]
        steps = [BankStep.of(self.cohort, bank, self.hosts, acts, switched) for bank in banks]
        return Part(block, self.ctx, [step for step in steps if step is not None])


def evaluate_cohort(
    cohort: Cohort, images: Tensor, labels: Tensor, live_site: Tensor, acting: Tensor, chunk: int
) -> Evaluation:
    """Return the cohort's evaluation on images [n, V, C, H, W], labels [n, V], `chunk` images at a time.

    live_site: int64 [n], -1 for none; acting: bool [n, S], seeds that act at all.
    """
    n, total, planned = len(cohort), labels.shape[1], CounterfactualPass(cohort, live_site, acting)
    labels = torch.cat([labels, labels[planned.added]])
    loss, correct = (torch.zeros(len(labels), device=labels.device, dtype=cohort.alpha.dtype) for _ in range(2))
    for start in range(0, total, chunk):
        pick = torch.arange(start, min(start + chunk, total), device=labels.device).expand(n, -1)
        logits = planned.logits(to_rows(images, pick).to(cohort.dtype))
        target = labels[:, start : start + chunk]
        loss += F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape).sum(1)
        correct += (logits.argmax(2) == target).sum(1)
    loss, correct = loss / total, correct / total
    other_loss, other_accuracy = loss[:n].clone(), correct[:n].clone()
    other_loss[planned.added], other_accuracy[planned.added] = loss[n:], correct[n:]
    return Evaluation(loss[:n], correct[:n], other_loss, other_accuracy)
