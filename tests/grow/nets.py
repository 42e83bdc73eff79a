"""Small networks with growth sites, and a plain training loop."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from tamiyo_trl.grow import GrowthSite


class Net(nn.Module):
    """Two maps' sites and one for features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.site0 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), GrowthSite(8)
        self.body, self.site1 = nn.Conv2d(8, 8, 3, padding=1, stride=2), GrowthSite(8)
        self.site2, self.head = GrowthSite(8, form="features"), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.site0(torch.relu(self.norm(self.stem(x))))
        x = self.site1(torch.relu(self.body(x)))
        return self.head(self.site2(x.mean((2, 3))))


def make_net(seed: int = 0) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net()


def batch(seed: int, count: int = 16) -> tuple[Tensor, Tensor]:
    """Return images whose class is their brightest corner."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=rng)
    images = torch.randn(count, 3, 8, 8, generator=rng)
    for i, label in enumerate(labels.tolist()):
        images[i, :, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 1.0
    return images, labels


def train_one_epoch(model: nn.Module, optimizer: Optimizer, epoch: int, batches: int = 2) -> tuple[float, float]:
    model.train()
    losses, hits = [], []
    for number in range(batches):
        images, labels = batch(1000 * epoch + number)
        optimizer.zero_grad()
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        hits.append((logits.argmax(1) == labels).float().mean().item())
    return sum(losses) / batches, sum(hits) / batches


@torch.no_grad()
def validate(model: nn.Module) -> tuple[float, float]:
    model.eval()
    images, labels = batch(77, 64)
    logits = model(images)
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def measure(model: nn.Module, optimizer: Optimizer, epoch: int) -> dict[str, float]:
    train_loss, train_accuracy = train_one_epoch(model, optimizer, epoch)
    val_loss, val_accuracy = validate(model)
    return {
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "val_loss": val_loss,
        "val_accuracy": val_accuracy,
    }
