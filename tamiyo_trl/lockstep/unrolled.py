"""3x3 convolutions of small maps as one matrix product for each row.

Convolution libraries are made for wide maps: on maps of a few pixels they run at a tenth of the speed of a matrix
product or less. Here the kernel is unrolled: a matrix M of one row takes a window of input pixels to outputs. On maps
up to 2x2 the window is the whole map, and M is full: every output sees every pixel. Wider, it is three lines, and the
outputs are one line: M is mostly the same weights again and again, and some zeros, but matrix products are that much
faster.

Axes: B batch, n rows, C and O input and output channels, H and W the input's map, H' and W' the output's, L windows of
an image, I and J input and output pixels of a window. A row's product has the same bits whatever the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

WHOLE = 2  # height of the largest map that is one window
NO_TAP = 9  # where an output does not see a pixel: the kernel has taps 0 to 8, column after column


@dataclass(frozen=True)
class Form:
    """The form of a 3x3 convolution with padding 1 of n rows and a batch.

    Attributes:
        n, batch: rows and images.
        c_in, c_out: channels.
        stride: 1 or 2.
        height, width: of the input.
    """

    n: int
    batch: int
    c_in: int
    c_out: int
    stride: int
    height: int
    width: int

    @property
    def out_height(self) -> int:
        """Height of the output."""
        return (self.height - 1) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Width of the output."""
        return (self.width - 1) // self.stride + 1

    @property
    def is_whole(self) -> bool:
        """Whether a window is the whole map."""
        return self.height <= WHOLE

    @property
    def windows(self) -> int:
        """Number of windows of an image, L."""
        return 1 if self.is_whole else self.out_height

    @property
    def padded_height(self) -> int:
        """Height of the input with the padding that windows of three lines need."""
        return max(self.height + 1, self.stride * (self.out_height - 1) + 3)

    def taps(self) -> Tensor:
        """Return int64 [I, J]: the kernel tap (0 to 8) that joins input pixel i to output pixel j, or `NO_TAP`."""
        lines, out_lines = (self.height, self.out_height) if self.is_whole else (3, 1)
        first = -1 if self.is_whole else 0  # the line of the window that the first output line sees first
        y, x, out_y, out_x = (torch.arange(k) for k in (lines, self.width, out_lines, self.out_width))
        dy = (y.unsqueeze(1) - self.stride * out_y - first).view(lines, 1, out_lines, 1)
        dx = (x.unsqueeze(1) - self.stride * out_x + 1).view(1, self.width, 1, self.out_width)
        seen = (dy >= 0) & (dy < 3) & (dx >= 0) & (dx < 3)
        return torch.where(seen, 3 * dx + dy, NO_TAP).flatten(2).flatten(0, 1)


class Unrolled:
    """A convolution of one form with its memory, which every step uses again: what is never written stays zero.

    like: a tensor with the device and dtype of the activations.
    """

    def __init__(self, form: Form, like: Tensor) -> None:
        self.form, self.like = form, like.new_empty(0)
        self.pixels, self.outputs, self.blocks, self.sums = _blocks(form, like.dtype, like.device)
        self.kernel = like.new_zeros(form.n, NO_TAP + 1, form.c_in, form.c_out)
        if not form.is_whole:
            padded = like.new_zeros(form.n, form.batch, form.padded_height, form.width, form.c_in)
            line = form.width * form.c_in
            size = (form.n, form.batch, form.windows, 3, line)
            self.inner = padded[:, :, 1 : 1 + form.height]
            self.seen = padded.as_strided(size, (*padded.stride()[:2], form.stride * line, line, 1))

    @cached_property
    def _folded(self) -> tuple[Tensor, list[Tensor], Tensor]:
        """Memory for the padded input's gradient, and views of it: what each of a window's lines is, and the input."""
        form, step = self.form, self.form.stride
        whole = self.like.new_zeros(form.n, form.batch, form.padded_height, form.width, form.c_in)
        last = step * (form.out_height - 1) + 1
        return whole, [whole[:, :, k : k + last : step] for k in range(3)], whole[:, :, 1 : 1 + form.height]

    def patches(self, x: Tensor) -> Tensor:
        """Return the windows [n, B*L, I*C] of x [n, B, H, W, C]."""
        form = self.form
        if form.is_whole:
            return x.reshape(form.n, form.batch, -1)
        self.inner.copy_(x)
        return self.seen.reshape(form.n, form.batch * form.windows, -1)

    def matrix(self, weight: Tensor) -> Tensor:
        """Return M [n, I*C, J*O] of the weight [n, O, C, 3, 3]."""
        form = self.form
        self.kernel[:, :NO_TAP].view(form.n, 3, 3, form.c_in, form.c_out).copy_(weight.permute(0, 4, 3, 2, 1))
        blocks = self.kernel.flatten(0, 1).index_select(0, self.blocks)
        blocks = blocks.view(form.n, self.pixels, self.outputs, form.c_in, form.c_out)
        return blocks.transpose(2, 3).reshape(form.n, self.pixels * form.c_in, -1)

    def weight_gradient(self, g: Tensor) -> Tensor:
        """Return the weight's gradient [n, O, C, 3, 3] for that of M, [n, I*C, J*O]."""
        form = self.form
        blocks = g.view(form.n, self.pixels, form.c_in, self.outputs, form.c_out).transpose(2, 3)
        taps = torch.bmm(self.sums, blocks.reshape(form.n, self.pixels * self.outputs, -1))
        return taps.view(form.n, 3, 3, form.c_in, form.c_out).permute(0, 4, 3, 2, 1)

    def fold(self, g: Tensor) -> Tensor:
        """Return the gradient [n, B, H, W, C] of the input for that of its windows, [n, B*L, I*C]."""
        form = self.form
        if form.is_whole:
            return g.view(form.n, form.batch, form.height, form.width, form.c_in)
        g = g.view(form.n, form.batch, form.windows, 3, form.width, form.c_in)
        whole, lines, inner = self._folded
        whole.zero_()
        for line, part in zip(lines, g.unbind(3)):
            line.add_(part)
        return inner.contiguous()


@lru_cache(maxsize=1024)
def _blocks(form: Form, dtype: torch.dtype, device: torch.device) -> tuple[int, int, Tensor, Tensor]:
    """Return I, J, which tap of all rows' kernels each block of M is, int64 [n*I*J], and 1 where it is, [n, 9, I*J]."""
    taps = form.taps().to(device)
    rows = torch.arange(form.n, device=device).unsqueeze(1)
    every = (rows * (NO_TAP + 1) + taps.flatten()).flatten()
    is_tap = torch.arange(NO_TAP, device=device).unsqueeze(1) == taps.flatten()
    return *taps.shape, every, is_tap.to(dtype).expand(form.n, -1, -1)
