"""What a `Corruption` does to images and labels, for every task alike."""

from __future__ import annotations

import torch
from torch import Tensor

from tamiyo_trl.data.images import Corruption


def distort(images: Tensor, corruption: Corruption, own: tuple[float, float], rng: torch.Generator) -> Tensor:
    """Return images [n, C, H, W], each times its random contrast, plus its random brightness per channel, then changed.

    `own` holds the task's contrast and brightness, which hold where the corruption names none.
    """
    contrast = own[0] if corruption.contrast is None else corruption.contrast
    brightness = own[1] if corruption.brightness is None else corruption.brightness
    count, channels = images.shape[:2]
    scaled = images * torch.exp(contrast * torch.randn(count, 1, 1, 1, generator=rng))
    return corruption.change(scaled + brightness * torch.randn(count, channels, 1, 1, generator=rng), rng)


def noisy_labels(labels: Tensor, share: float, classes: int, rng: torch.Generator) -> Tensor:
    """Return labels [n] of which this share is replaced by random classes."""
    replaced = torch.rand(len(labels), generator=rng) < share
    return torch.where(replaced, torch.randint(classes, (len(labels),), generator=rng), labels)


def pool_rows(pool: int, train: int) -> Tensor:
    """Return which of the pool's images stands in each row of the training split, int64 [train]: it is repeated."""
    return torch.arange(train) % pool
