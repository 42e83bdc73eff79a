"""Shifting a picture, pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor


def plain_place(digits: Tensor, dy: int, dx: int, size: int) -> Tensor:
    """Return the pictures [n, H, W] looked at through a window moved by (dy, dx): zero outside of the picture."""
    placed = torch.zeros(len(digits), size, size)
    for row in range(size):
        for column in range(size):
            y, x = row + dy, column + dx
            if 0 <= y < digits.shape[1] and 0 <= x < digits.shape[2]:
                placed[:, row, column] = digits[:, y, x]
    return placed
