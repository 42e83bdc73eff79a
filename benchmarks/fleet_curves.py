"""What bf16 does to learning curves: the same hosts on the same digits in fp32 and in bf16, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tamiyo_trl.data import Corruption, DigitsTask, SplitSizes
from tamiyo_trl.hosts import Fleet, HostBirth, HostConfig
from tamiyo_trl.seeds.blueprints import SeedBirth

EPOCHS, IMAGES, BATCH, LR = 25, 512, 32, 0.05


@dataclass(frozen=True)
class Curves:
    """Validation accuracies [epochs, N] of the same hosts in both precisions."""

    fp32: list[list[float]]
    bf16: list[list[float]]


def measure_curves(n_hosts: int, epochs: int, device: str) -> Curves:
    """Train `n_hosts` default hosts on digits at 16x16 in both precisions, a wide seed blending in at epoch 5."""
    task, sizes = DigitsTask(16), SplitSizes(test=1)
    drawn = [task.draw(e, sizes, Corruption()) for e in range(n_hosts)]
    images, labels = (torch.stack([getattr(d, f"train_{k}") for d in drawn]).to(device) for k in ("images", "labels"))
    held, answers = (torch.stack([getattr(d, f"val_{k}") for d in drawn]).to(device) for k in ("images", "labels"))
    rng = torch.Generator().manual_seed(0)
    orders = [torch.stack([torch.randperm(sizes.train, generator=rng)[:IMAGES] for _ in drawn]) for _ in range(epochs)]
    none = torch.full((n_hosts,), -1, device=device)

    def train(precision: str) -> list[list[float]]:
        fleet, seen = Fleet(HostConfig(), n_hosts, precision=precision, device=device), []
        fleet.reset(range(n_hosts), [HostBirth(e) for e in range(n_hosts)])
        for epoch, order in enumerate(orders):
            if epoch == 5:
                for e in range(n_hosts):
                    fleet.germinate(e, 1, SeedBirth("wide", e))
            alpha = torch.full((n_hosts, 3), min(max(epoch - 7, 0) / 3, 1.0))
            fleet.set_blend(alpha, torch.full((n_hosts, 3), epoch < 7))
            lr = LR * min(1.0, (EPOCHS - epoch) / 15)
            rates = torch.full((n_hosts,), lr, device=device)
            fleet.train_epoch(images, labels, order.to(device), batch_size=BATCH, lr=rates)
            seen.append(fleet.evaluate(held, answers, none).accuracy.tolist())
        return seen

    return Curves(train("fp32"), train("bf16"))


def describe_curves(curves: Curves) -> list[str]:
    """Return the lines of a report: accuracies and the paired difference with its standard error."""
    fp32, bf16 = torch.tensor(curves.fp32), torch.tensor(curves.bf16)
    n = fp32.shape[1]
    lines = ["", f"## Learning curves in bf16: {n} hosts on digits at 16x16, a wide seed from epoch 6", ""]
    lines += ["| epoch | fp32 | bf16 | bf16 - fp32, paired, points |", "|---|---|---|---|"]
    for epoch in sorted({0, 4, 9, 14, 19, len(fp32) - 1}):
        if epoch < len(fp32):
            difference = 100 * (bf16[epoch] - fp32[epoch])
            spread = f"{difference.mean():+.2f} +- {_error(difference):.2f}"
            lines.append(f"| {epoch + 1} | {fp32[epoch].mean():.1%} | {bf16[epoch].mean():.1%} | {spread} |")
    return lines


def _error(values: Tensor) -> float:
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0
