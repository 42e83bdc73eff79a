"""Sums and other arithmetic of many rows whose bits do not depend on how many rows there are.

PyTorch's reductions over outer axes sum the columns beyond the last full vector in another order, batched matrix
products may round their last matrix differently where its outputs do not fill whole vectors, and vectorised
exponentials have another implementation for what is left over. So sums over space or batch go through average pooling,
and outputs of linear layers and exponentials are padded. It holds for channel counts that are multiples of 8; tests
prove it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LANES = 8  # outputs of a matrix product that are worked out together
VECTOR = 64  # a multiple of the elements that vectorised code takes at a time


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return the linear map [B, n, O] of every row: x [B, n*C], weight [n, O, C]."""
    n, c_out, c_in = weight.shape
    rows = x.view(-1, n, c_in).transpose(0, 1)
    return torch.bmm(rows, _padded(weight, 1).transpose(1, 2))[..., :c_out].transpose(0, 1).contiguous()


def linear_backward(g: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of x [B, n*C] and the weight [n, O, C] for the output's g, [B, n, O] or [B, n*O]."""
    n, c_out, c_in = weight.shape
    g = _padded(g.view(-1, n, c_out), 2).transpose(0, 1)
    gx = torch.bmm(g, _padded(weight, 1)).transpose(0, 1).flatten(1)
    return gx, torch.bmm(g.transpose(1, 2), x.view(-1, n, c_in).transpose(0, 1))[:, :c_out].contiguous()


def _padded(x: Tensor, axis: int) -> Tensor:
    """Return x [*, *, *] with zeros at the end of an axis, up to a full vector."""
    missing = -x.shape[axis] % LANES
    return F.pad(x, (0, missing) if axis == 2 else (0, 0, 0, missing)) if missing else x


def space_mean(x: Tensor) -> Tensor:
    """Return the mean [B, K, 1, 1] of x [B, K, H, W] over H and W."""
    return F.avg_pool2d(x, x.shape[2:])


def row_mean(x: Tensor, n: int) -> Tensor:
    """Return [B, n*C, 1, 1]: the mean of each row of x [B, n*C, H, W] per image, repeated over the row's channels."""
    batch, channels = x.shape[:2]
    mean = space_mean(x).view(batch, n, -1).mean(2, keepdim=True)
    return mean.expand(-1, -1, channels // n).reshape(batch, channels, 1, 1)


def channel_sum(x: Tensor) -> Tensor:
    """Return the sum [K] of x [B, K, H, W] (channels_last) over everything but channels."""
    return column_sum(x.permute(0, 2, 3, 1).flatten(0, 2))


def column_sum(x: Tensor) -> Tensor:
    """Return the sum [K] of x [M, K] over M."""
    count, channels = x.shape
    column = x.as_strided((1, channels, count, 1), (x.numel(), 1, channels, channels))
    return F.avg_pool2d(column, (count, 1)).view(-1) * count


def sigmoid(x: Tensor) -> Tensor:
    """Return the logistic function of x [B, K]."""
    # Elements beyond the last full vector would go through another implementation of exp.
    flat = x.flatten()
    return F.pad(flat, (0, -len(flat) % VECTOR)).sigmoid_()[: len(flat)].view_as(x)


def as_column(x: Tensor) -> Tensor:
    """Return x [B, K, 1, 1] as [1, K, B, 1] in channels_last; other sizes as they are.

    With one pixel, channels_last and its opposite look alike and the wrong kernel may be chosen.
    """
    batch, width, height, _ = x.shape
    if height * x.shape[3] > 1:
        return x
    return x.as_strided((1, width, batch, 1), (batch * width, 1, width, width))


def as_pixels(x: Tensor, shape: torch.Size) -> Tensor:
    """Undo `as_column`: return x in its former `shape`."""
    return x if x.shape == shape else x.as_strided(shape, (shape[1], 1, shape[1], shape[1]))
