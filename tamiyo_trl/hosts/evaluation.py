"""Evaluation of a cohort: as it is, and as it would be if each host's live seed were switched, in one pass over shared prefixes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..seeds.rows import as_rows, split_rows, take_rows
from .cnn import block, head, to_rows
from .cohort import Cohort, run_seeds


@dataclass(frozen=True)
class Evaluation:
    """Losses (nats) and accuracies (0..1) of N hosts, float [N] each.

    The counterfactual switches the live seed: off (alpha 0), or fully on (alpha 1) if it is incubating; without a live seed it repeats the plain figures.
    """

    loss: Tensor
    accuracy: Tensor
    counterfactual_loss: Tensor
    counterfactual_accuracy: Tensor


@torch.no_grad()
def both_logits(cohort: Cohort, x: Tensor, live_site: Tensor, acting: Tensor) -> tuple[Tensor, list[int]]:
    """Return logits [n + m, B, classes] and the hosts of the last m rows: the hosts with a live seed, switched.

    x [B, n*C, H, W]; live_site int64 [n], -1 for none; acting bool [n, S], seeds that act at all. A switched host's activations leave its plain
    ones at the live site, as further rows of the same pass.
    """
    n, owner = len(cohort.hosts), list(range(len(cohort.hosts)))
    live = live_site.tolist()
    p = named = split_rows(cohort.hosts.values, cohort.config.shapes)
    buffers = cohort.hosts.buffers
    for site, kind in enumerate(cohort.config.downsample):
        x = block(x, named, buffers, site, kind, training=False)
        switched = [e for e in range(n) if live[e] == site]
        x = _seed_site(cohort, x, site, owner, switched, acting)
        if switched:
            owner = owner + switched
            index = torch.tensor(owner, device=x.device)
            named = {name: v.index_select(0, index) for name, v in p.items()}
            buffers = {name: b.index_select(0, index) for name, b in cohort.hosts.buffers.items()}
    return head(x, named), owner[n:]


def _seed_site(
    cohort: Cohort, x: Tensor, site: int, owner: list[int], switched: list[int], acting: Tensor
) -> Tensor:
    """Return the activation after the site's seeds, with one new row for each host in `switched`."""
    n, device = len(owner), x.device
    x = x.contiguous(memory_format=torch.channels_last)
    branch = take_rows(x, n, torch.tensor(switched, device=device)) if switched else None
    on = (acting[:, site] & ~cohort.incubating[:, site]).tolist()
    for bank in cohort.banks:
        if bank.site != site:
            continue
        place = {h: i for i, h in enumerate(bank.hosts)}
        need = [r for r, e in enumerate(owner) if e in place and (on[e] or (e in switched and bool(cohort.incubating[e, site])))]
        if not need:
            continue
        members = torch.tensor([place[owner[r]] for r in need], device=device)
        named = split_rows(bank.rows.values.index_select(0, members), bank.blueprint.shapes(bank.channels))
        stats = {name: b.index_select(0, members) for name, b in bank.rows.buffers.items()}
        index = torch.tensor(need, device=device)
        s = run_seeds(bank, take_rows(x, n, index), named, stats, False, len(cohort.hosts) == 1)
        s_rows = as_rows(s.contiguous(memory_format=torch.channels_last), len(need))
        mixed = [i for i, r in enumerate(need) if on[owner[r]]]
        if mixed:
            rows = index[mixed]
            a = cohort.alpha[[owner[need[i]] for i in mixed], site].view(-1, 1).to(x.dtype)
            x_rows = as_rows(x, n)
            x_rows.index_copy_(1, rows, torch.lerp(x_rows.index_select(1, rows), s_rows[:, mixed].to(x.dtype), a))
        for i, r in enumerate(need):
            if not on[owner[r]] and branch is not None:
                as_rows(branch, len(switched))[:, switched.index(owner[r])] = s_rows[:, i].to(x.dtype)
    return x if branch is None else torch.cat([x, branch], 1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def evaluate_cohort(
    cohort: Cohort, images: Tensor, labels: Tensor, live_site: Tensor, acting: Tensor, chunk: int
) -> Evaluation:
    """Return the cohort's evaluation on images [n, V, C, H, W], labels [n, V], `chunk` images at a time."""
    n, total = len(cohort.hosts), labels.shape[1]
    loss: Tensor | None = None
    for start in range(0, total, chunk):
        pick = torch.arange(start, min(start + chunk, total), device=labels.device).expand(n, -1)
        logits, switched = both_logits(cohort, to_rows(images, pick), live_site, acting)
        target = labels[:, start : start + chunk]
        target = torch.cat([target, target[switched]])
        part = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape).sum(1)
        hits = (logits.argmax(2) == target).sum(1)
        loss, correct = (part, hits) if loss is None else (loss + part, correct + hits)
    assert loss is not None
    loss, accuracy = loss / total, correct / total
    other_loss, other_accuracy = loss[:n].clone(), accuracy[:n].clone()
    other_loss[switched], other_accuracy[switched] = loss[n:], accuracy[n:]
    return Evaluation(loss[:n], accuracy[:n], other_loss, other_accuracy)
