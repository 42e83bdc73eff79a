"""Seeds for features [..., C], such as an MLP's hidden layer or a transformer's tokens, as ordinary modules.

They normalise within each vector, so they work at any batch size and sequence length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamiyo_trl.seeds.map_modules import SMALL_GAIN


class FeatureNorm(nn.Module):
    """h + s (layer norm(h) - h); s is born 1. 2C + 1 parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Parameter(torch.ones(1))

    def forward(self, h: Tensor) -> Tensor:
        """Return s(h)."""
        return h + self.mix * (self.norm(h) - h)


class FeatureAttention(nn.Module):
    """h * 2 sigmoid(up relu(down h)): a gate per feature, 1 where `up` is zero. 2 C (C/4) parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 4)
        self.down = nn.Linear(channels, hidden, bias=False)
        self.up = nn.Linear(hidden, channels, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Return s(h)."""
        return h * (2 * torch.sigmoid(self.up(torch.relu(self.down(h))))).to(h.dtype)


class ResidualMLP(nn.Module):
    """h + out(gelu(inner(layer norm(h)))) with `hidden` units. 2C + C hidden + hidden + hidden C + C parameters."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.inner = nn.Linear(channels, hidden)
        self.out = nn.Linear(hidden, channels)
        with torch.no_grad():
            self.out.weight.mul_(SMALL_GAIN)
            self.out.bias.zero_()

    def forward(self, h: Tensor) -> Tensor:
        """Return s(h)."""
        return h + self.out(nn.functional.gelu(self.inner(self.norm(h))))


def bottleneck(channels: int) -> nn.Module:
    """Return a residual MLP with C/4 hidden units, at least 2."""
    return ResidualMLP(channels, max(2, channels // 4))


def wide(channels: int) -> nn.Module:
    """Return a residual MLP with 4C hidden units."""
    return ResidualMLP(channels, 4 * channels)
