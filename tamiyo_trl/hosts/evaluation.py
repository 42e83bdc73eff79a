"""Evaluation of a cohort: as it is, and with each host's live seed switched, in one pass over shared prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..seeds.layers import Layer, Run
from ..seeds.rows import as_rows, split_rows, take_rows
from .banks import Bank
from .cnn import host_network, to_rows
from .cohort import Cohort


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
        network, run: the bank's form and parameters.
        rows: int64 [m], the rows its seeds read.
        heard: int64 [k], positions in `rows` of the seeds that act.
        targets: int64 [k], the rows they act on.
        alpha: float [k, 1].
        shown: int64 [j], positions in `rows` of the incubating seeds that the counterfactual turns on.
        slots: int64 [j], places of those among the site's new rows.
    """

    network: Layer
    run: Run
    rows: Tensor
    heard: Tensor
    targets: Tensor
    alpha: Tensor
    shown: Tensor
    slots: Tensor

    @staticmethod
    def of(cohort: Cohort, bank: Bank, owner: list[int], acts: list[bool], switched: list[int]) -> BankStep | None:
        """Return the step of a bank over rows whose hosts are `owner`, or None if it has nothing to do.

        acts: of each host, whether its seed at this site acts; switched: hosts whose counterfactual begins here.
        """
        place = {h: i for i, h in enumerate(bank.hosts)}
        shows = {h for h in switched if bool(cohort.incubating[h, bank.site])}
        need = [r for r, h in enumerate(owner) if h in place and (acts[h] or h in shows)]
        if not need:
            return None
        heard = [i for i, r in enumerate(need) if acts[owner[r]]]
        shown = [i for i, r in enumerate(need) if not acts[owner[r]]]
        seeds = [place[owner[r]] for r in need]
        network, index = bank.network, cohort.index
        picked = bank.rows.take(index(seeds))
        hosts = [owner[need[i]] for i in heard]
        return BankStep(
            network,
            Run(split_rows(picked.values, network.shapes()), picked.buffers, False, cohort.is_solo(len(need))),
            index(need),
            index(heard),
            index([need[i] for i in heard]),
            cohort.alpha[index(hosts), bank.site].unsqueeze(1),
            index(shown),
            index([switched.index(owner[need[i]]) for i in shown]),
        )


@dataclass(frozen=True)
class Stage:
    """A block, its site's seeds, and the rows that the site adds: hosts whose live seed is there, switched."""

    block: Layer
    run: Run
    n: int
    banks: Sequence[BankStep]
    switched: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation [B, (n + added)*C, H, W] after the site."""
        x = self.block.forward(x, self.run).contiguous(memory_format=torch.channels_last)
        rows, added = as_rows(x, self.n), take_rows(x, self.n, self.switched) if len(self.switched) else None
        for bank in self.banks:
            s = bank.network.forward(take_rows(x, self.n, bank.rows), bank.run)
            s_rows = as_rows(s, len(bank.rows))
            if len(bank.heard):
                own, heard = rows.index_select(1, bank.targets), s_rows.index_select(1, bank.heard)
                rows.index_copy_(1, bank.targets, torch.lerp(own, heard, bank.alpha.to(own.dtype)))
            if added is not None and len(bank.shown):
                shown = s_rows.index_select(1, bank.shown)
                as_rows(added, len(self.switched)).index_copy_(1, bank.slots, shown)
        return (
            x
            if added is None
            else torch.cat([rows, as_rows(added, len(self.switched))], 1)
            .view(x.shape[0], *x.shape[2:], -1)
            .permute(0, 3, 1, 2)
        )


class Plan:
    """What an evaluation of a cohort does, worked out once: a stage per site, then the head."""

    def __init__(self, cohort: Cohort, live_site: Tensor, acting: Tensor) -> None:
        network, live = host_network(cohort.config), live_site.tolist()
        owner, parameters = list(range(len(cohort))), split_rows(cohort.hosts.values, network.shapes())
        run = Run(parameters, cohort.hosts.buffers, False, cohort.is_solo(len(cohort)))
        self.cohort, self.stages = cohort, []
        for site, block in enumerate(network.blocks):
            acts = (acting[:, site] & ~cohort.incubating[:, site]).tolist()
            switched = [h for h in range(len(cohort)) if live[h] == site]
            banks = [BankStep.of(cohort, b, owner, acts, switched) for b in cohort.banks if b.site == site]
            steps = [b for b in banks if b is not None]
            self.stages.append(Stage(block, run, len(owner), steps, cohort.index(switched)))
            if switched:
                owner = owner + switched
                index = cohort.index(owner)
                named = {name: p.index_select(0, index) for name, p in parameters.items()}
                statistics = {name: b.index_select(0, index) for name, b in cohort.hosts.buffers.items()}
                run = Run(named, statistics, training=False)  # two rows at least
        self.head, self.run = network.head, run
        self.added = cohort.index(owner[len(cohort) :])

    def logits(self, x: Tensor) -> Tensor:
        """Return logits [n + m, B, classes] for x [B, n*C, H, W]: the hosts, then those `added`, switched."""
        for stage in self.stages:
            x = stage.forward(x)
        return self.head.forward(x, self.run).transpose(0, 1).contiguous()


def evaluate_cohort(
    cohort: Cohort, images: Tensor, labels: Tensor, live_site: Tensor, acting: Tensor, chunk: int
) -> Evaluation:
    """Return the cohort's evaluation on images [n, V, C, H, W], labels [n, V], `chunk` images at a time.

    live_site: int64 [n], -1 for none; acting: bool [n, S], seeds that act at all.
    """
    n, total, plan = len(cohort), labels.shape[1], Plan(cohort, live_site, acting)
    labels = torch.cat([labels, labels[plan.added]])
    loss, correct = (torch.zeros(len(labels), device=labels.device, dtype=cohort.alpha.dtype) for _ in range(2))
    for start in range(0, total, chunk):
        pick = torch.arange(start, min(start + chunk, total), device=labels.device).expand(n, -1)
        logits = plan.logits(to_rows(images, pick).to(cohort.dtype))
        target = labels[:, start : start + chunk]
        loss += F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape).sum(1)
        correct += (logits.argmax(2) == target).sum(1)
    loss, correct = loss / total, correct / total
    other_loss, other_accuracy = loss[:n].clone(), correct[:n].clone()
    other_loss[plan.added], other_accuracy[plan.added] = loss[n:], correct[n:]
    return Evaluation(loss[:n], correct[:n], other_loss, other_accuracy)
