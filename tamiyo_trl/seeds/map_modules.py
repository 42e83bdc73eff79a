"""Seeds for maps [B, C, H, W] as ordinary modules: each maps a site's activation h to s(h) of the same shape.

The hosts' fleet computes the same networks as rows (`blueprints.py`); tests hold the two equal, weight by weight.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALL_GAIN = 0.3  # of the last norm of the convolutional blueprints: born near-neutral, yet with a gradient


class Norm(nn.Module):
    """h + s (w z + b - h), where z is h with mean 0 and variance 1 over C, H, W of each image; s is born 1.

    Source: group normalisation (arXiv:1803.08494) with one group, mixed in by a learned scalar.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.mix = nn.Parameter(torch.ones(1))

    def forward(self, h: Tensor) -> Tensor:
        """Return s(h)."""
        return h + self.mix * (self.norm(h) - h)


class Attention(nn.Module):
    """h * 2 sigmoid(up relu(down mean(h))): a gate per channel, 1 where `up` is zero.

    Source: squeeze-and-excitation (arXiv:1709.01507), doubled so that an untrained gate lets everything pass.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 4)
        self.down = nn.Linear(channels, hidden, bias=False)
        self.up = nn.Linear(hidden, channels, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Return s(h)."""
        gate = 2 * torch.sigmoid(self.up(torch.relu(self.down(h.mean((2, 3))))))
        return h * gate[:, :, None, None].to(h.dtype)


class Depthwise(nn.Module):
    """h + relu(norm(pointwise(depthwise 3x3(h))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.point = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = _near_neutral(channels)

    def forward(self, h: Tensor) -> Tensor:
        """Return s(h)."""
        return h + torch.relu(self.norm(self.point(self.depth(h))))


class ConvLight(nn.Module):
    """h + relu(norm(conv 3x3(h)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = _near_neutral(channels)

    def forward(self, h: Tensor) -> Tensor:
        """Return s(h)."""
        return h + torch.relu(self.norm(self.conv(h)))


class ConvHeavy(nn.Module):
    """h + norm2(conv2 3x3(relu(norm1(conv1 3x3(h)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = _near_neutral(channels)

    def forward(self, h: Tensor) -> Tensor:
        """Return s(h)."""
        return h + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(h)))))


class Wide(nn.Module):
    """h + out 1x1(relu(norm(conv 3x3 to 4C(h)))): the one that measurably adds capacity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4 * channels)
        self.out = nn.Conv2d(4 * channels, channels, 1, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Return s(h)."""
        return h + self.out(torch.relu(self.norm(self.conv(h))))


class Lossy(nn.Module):
    """up 1x1(down 1x1(mean 5x5(h))), not residual: truly harmful, so that there is something to cull."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(2, channels // 4)
        self.blur = nn.AvgPool2d(5, stride=1, padding=2)
        self.down = nn.Conv2d(channels, hidden, 1, bias=False)
        self.up = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Return s(h)."""
        return self.up(self.down(self.blur(h)))


def _near_neutral(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.constant_(norm.weight, SMALL_GAIN)
    return norm
