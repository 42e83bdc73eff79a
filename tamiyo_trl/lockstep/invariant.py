"""Arithmetic of many rows whose bits do not depend on how many rows there are.

Batched matrix products may round their last matrix differently where its outputs do not fill whole vectors, and
vectorised exponentials have another implementation for what is left over: so outputs of linear layers and exponentials
are padded. Tests prove it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tamiyo_trl.lockstep.rows import as_images

LANES = 8  # outputs of a matrix product that are worked out together
VECTOR = 64  # a multiple of the elements that vectorised code takes at a time


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return the linear map [n, B, O] of every row: x [n, B, C], weight [n, O, C]."""
    c_out = weight.shape[1]
    return torch.bmm(x, _padded(weight, 1).transpose(1, 2))[..., :c_out].contiguous()


def linear_backward(g: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x [n, B, C] and the weight [n, O, C] for the output's g [n, B, O]."""
    c_out, g = weight.shape[1], _padded(g, 2)
    return torch.bmm(g, _padded(weight, 1)), torch.bmm(g.transpose(1, 2), x)[:, :c_out].contiguous()


def _padded(x: Tensor, axis: int) -> Tensor:
    """Return x [*, *, *] with zeros at the end of an axis, up to a full vector."""
    missing = -x.shape[axis] % LANES
    return F.pad(x, (0, missing) if axis == 2 else (0, 0, 0, missing)) if missing else x


def space_mean(x: Tensor) -> Tensor:
    """Return the mean [n, B, C] of x [n, B, H, W, C] over H and W."""
    images = as_images(x)
    return F.avg_pool2d(images, images.shape[2:]).reshape(*x.shape[:2], -1)


def sigmoid(x: Tensor) -> Tensor:
    """Return the logistic function of x."""
    # Elements beyond the last full vector would go through another implementation of exp.
    flat = x.flatten()
    return F.pad(flat, (0, -len(flat) % VECTOR)).sigmoid_()[: len(flat)].view_as(x)
