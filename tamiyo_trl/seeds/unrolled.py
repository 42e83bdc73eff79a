"""3x3 convolutions of small maps as one matrix product for each row.

Convolution libraries are made for wide maps: on maps of a few pixels they run at a tenth of the speed of a matrix
product or less. Here the kernel is unrolled along the width: a matrix M of one row takes three lines of input pixels to
a line of output pixels. M is mostly the same weights again and again, and some zeros, but matrix products are that much
faster.

Axes: B batch, n rows, C and O input and output channels, H and W the input's map, H' and W' the output's,
K = 3*W*C what a line of outputs sees. A row's product has the same bits whatever the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from .rows import host_major, row_minor


@dataclass(frozen=True)
class Form:
    """The form of a 3x3 convolution with padding 1 of n rows and a batch.

    Attributes:
        n, batch: rows and images.
        c_in, c_out: channels.
        stride: 1 or 2.
        height, width: of the input.
        images: whether the input is contiguous [B, n*C, H, W], as images come, and not channels_last.
    """

    n: int
    batch: int
    c_in: int
    c_out: int
    stride: int
    height: int
    width: int
    images: bool

    @property
    def out_height(self) -> int:
        """Height of the output."""
        return (self.height - 1) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Width of the output."""
        return (self.width - 1) // self.stride + 1

    @property
    def padded_height(self) -> int:
        """Height of the input with the padding that it needs."""
        return max(self.height + 1, self.stride * (self.out_height - 1) + 3)


class Unrolled:
    """A convolution of one form with its memory, which every step uses again: what is never written stays zero.

    like: a tensor with the device and dtype of the activations.
    """

    def __init__(self, form: Form, like: Tensor) -> None:
        self.form, self.like = form, like.new_empty(0)
        n, batch, c, width = form.n, form.batch, form.c_in, form.width
        lines, step = form.out_height, form.stride
        height, inside = form.padded_height, slice(1, 1 + form.height)
        # The input with zeros above and below, and what each line of outputs sees of it.
        if form.images:
            padded = like.new_zeros(n, batch, c, height, width)
            self.inner, seen = padded[:, :, :, inside], (c, 3, width)
            strides = (step * width, height * width, width, 1)
        else:
            padded = like.new_zeros(n, batch, height, width, c)
            self.inner, seen = padded[:, :, inside], (3, width, c)
            strides = (step * width * c, width * c, c, 1)
        self.windows = padded.as_strided((n, batch, lines, *seen), (*padded.stride()[:2], *strides))
        self.matrix_taps, self.matrix_inner = self._matrix()

    @cached_property
    def _gradient(self) -> tuple[Tensor, Tensor]:
        return self._matrix()

    @cached_property
    def _folded(self) -> tuple[Tensor, list[Tensor], Tensor]:
        """Memory for the padded input's gradient, and views of it: what each of a window's lines is, and the input."""
        form, step = self.form, self.form.stride
        whole = self.like.new_zeros(form.n, form.batch, form.padded_height, form.width, form.c_in)
        last = step * (form.out_height - 1) + 1
        return whole, [whole[:, :, k : k + last : step] for k in range(3)], whole[:, :, 1 : 1 + form.height]

    def _matrix(self) -> tuple[Tensor, Tensor]:
        """Return two views of memory for M with padding at the sides: of its weights, and of it without the padding.

        Weights: the window's axes with 3 for the width, then W', O.
        """
        form, axis = self.form, 3 if self.form.images else 2
        reach = form.stride * (form.out_width - 1) + 3
        seen = (form.c_in, 3, reach) if form.images else (3, reach, form.c_in)
        memory = self.like.new_zeros(form.n, *seen, form.out_width, form.c_out)
        size, strides = list(memory.shape), list(memory.stride())
        size[axis], strides[4] = 3, strides[4] + form.stride * strides[axis]
        return memory.as_strided(size, strides), memory.narrow(axis, 1, form.width)

    def patches(self, x: Tensor) -> Tensor:
        """Return what every line of outputs sees of x [B, n*C, H, W], [n, B*H', K]."""
        form = self.form
        if form.images:
            x = x.view(form.batch, form.n, form.c_in, form.height, form.width).transpose(0, 1)
        else:
            x = host_major(x, form.n)
        self.inner.copy_(x)
        return self.windows.reshape(form.n, form.batch * form.out_height, -1)

    def matrix(self, weight: Tensor) -> Tensor:
        """Return M [n, K, W'*O] of the weight [n, O, C, 3, 3]."""
        order = (0, 2, 3, 4, 1) if self.form.images else (0, 3, 4, 2, 1)
        self.matrix_taps.copy_(weight.permute(order).unsqueeze(4))
        return self.matrix_inner.reshape(self.form.n, -1, self.form.out_width * self.form.c_out)

    def weight_gradient(self, g: Tensor) -> Tensor:
        """Return the weight's gradient [n, O, C, 3, 3] for that of M, [n, K, W'*O]."""
        taps, inner = self._gradient
        inner.copy_(g.view(inner.shape))
        first, *rest = taps.unbind(4)
        total = first.clone() if not rest else first
        for tap in rest:
            total = total + tap
        return total.permute((0, 4, 1, 2, 3) if self.form.images else (0, 4, 3, 1, 2))

    def fold(self, g: Tensor) -> Tensor:
        """Return the gradient [B, n*C, H, W] of the input for that of its patches, [n, B*H', K]."""
        form = self.form
        g = g.view(form.n, form.batch, form.out_height, 3, form.width, form.c_in)
        whole, lines, inner = self._folded
        whole.zero_()
        for line, part in zip(lines, g.unbind(3)):
            line.add_(part)
        return row_minor(inner)
