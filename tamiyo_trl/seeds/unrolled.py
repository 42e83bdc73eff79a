"""3x3 convolutions of small maps as one matrix product for each row.

Convolution libraries are made for wide maps: on maps of a few pixels, or with few input channels, they run at a tenth
of the speed of a matrix product or less. Here the kernel is unrolled along the width: a matrix M of one row takes three
lines of U input pixels to T neighbouring output pixels of one line. M is mostly the same weights again and again, and
some zeros, but matrix products are that much faster.

Axes: B batch, n rows, C and O input and output channels, H and W the map, K = 3*U*C what one tile of outputs sees,
T*O what it is. A row's product has the same bits whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .rows import host_major, row_minor

# Returns a tensor of this use and shape, like another, which is zero where nobody has ever written.
Zeros = Callable[[str, tuple[int, ...], Tensor], Tensor]


@dataclass(frozen=True)
class Unrolled:
    """The unrolled form of a 3x3 convolution with padding 1.

    Attributes:
        c_in, c_out: channels.
        stride: 1 or 2.
        height, width: of the input.
        tile: T, divides the output's width; a single tile needs no padding at the sides.
        images: whether the input is contiguous [B, n*C, H, W], as images come, and not channels_last.
    """

    c_in: int
    c_out: int
    stride: int
    height: int
    width: int
    tile: int
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
    def tiles(self) -> int:
        """Tiles in a line of the output."""
        return self.out_width // self.tile

    @property
    def reach(self) -> int:
        """Input pixels that a tile reaches along a line, padding included."""
        return self.stride * (self.tile - 1) + 3

    @property
    def seen(self) -> int:
        """U, the input pixels along a line that M holds."""
        return self.width if self.tiles == 1 else self.reach

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the padded input, and where the map begins in a line of it."""
        height = max(self.height + 1, self.stride * (self.out_height - 1) + 3)
        return height, self.width if self.tiles == 1 else self.stride * (self.out_width - 1) + 3

    @property
    def left(self) -> int:
        """Padding at the left."""
        return 0 if self.tiles == 1 else 1

    # ---- the matrices ----------------------------------------------------------------------------------------------

    def patches(self, x: Tensor, n: int, zeros: Zeros) -> Tensor:
        """Return what every tile of x [B, n*C, H, W] sees, [n, B*H'*tiles, K]."""
        batch, (height, width), c = len(x), self.padded, self.c_in
        left, lines, step = self.left, self.out_height, self.stride
        inner = slice(1, 1 + self.height), slice(left, left + self.width)
        if self.images:
            pad = zeros("padded", (n, batch, c, height, width), x)
            pad[:, :, :, inner[0], inner[1]] = x.view(batch, n, c, self.height, self.width).transpose(0, 1)
            window, strides = (c, 3, self.seen), (step * width, self.tile * step, height * width, width, 1)
        else:
            pad = zeros("padded", (n, batch, height, width, c), x)
            pad[:, :, inner[0], inner[1]] = host_major(x, n)
            window, strides = (3, self.seen, c), (step * width * c, self.tile * step * c, width * c, c, 1)
        size = (n, batch, lines, self.tiles, *window)
        return pad.as_strided(size, (*pad.stride()[:2], *strides)).reshape(n, batch * lines * self.tiles, -1)

    def matrix(self, weight: Tensor, zeros: Zeros) -> Tensor:
        """Return M [n, K, T*O] of the weight [n, O, C, 3, 3]."""
        m = zeros("matrix", self._full(len(weight)), weight)
        order = (0, 2, 3, 4, 1) if self.images else (0, 3, 4, 2, 1)
        self._taps(m).copy_(weight.permute(order).unsqueeze(4))
        if self.tiles == 1:
            m = m.narrow(3 if self.images else 2, 1, self.width)
        return m.reshape(len(m), -1, self.tile * self.c_out)

    def weight_gradient(self, g: Tensor, zeros: Zeros) -> Tensor:
        """Return the weight's gradient [n, O, C, 3, 3] for that of M, [n, K, T*O]."""
        size, axis = self._full(len(g)), 3 if self.images else 2
        if self.tiles == 1:
            inner, g = g, zeros("gradient", size, g)
            g.narrow(axis, 1, self.width).copy_(inner.view(*size[:axis], self.width, *size[axis + 1 :]))
        first, *rest = self._taps(g.view(size)).unbind(4)
        for tap in rest:
            first = first + tap
        return first.permute((0, 4, 1, 2, 3) if self.images else (0, 4, 3, 1, 2))

    def fold(self, g: Tensor) -> Tensor:
        """Return the gradient [B, n*C, H, W] of the input for that of its patches, [n, B*H'*tiles, K]."""
        (height, width), n, lines, step = self.padded, len(g), self.out_height, self.stride
        g = g.view(n, -1, lines, self.tiles, 3, self.seen, self.c_in)
        out = g.new_zeros(n, g.shape[1], height, width, self.c_in)
        own = self.tile * step if self.tiles > 1 else self.seen  # of a tile's pixels, those that the next does not see
        strides = (*out.stride()[:2], step * width * self.c_in, own * self.c_in, self.c_in, 1)
        for line in range(3):
            for at in range(0, self.seen, own):
                part = g[:, :, :, :, line, at : at + own]
                out.as_strided(part.shape, strides, (line * width + at) * self.c_in).add_(part)
        inner = out[:, :, 1 : 1 + self.height, self.left : self.left + self.width]
        return row_minor(inner)

    def _full(self, n: int) -> tuple[int, ...]:
        """Return the axes of M with the padding at the sides."""
        window = (self.c_in, 3, self.reach) if self.images else (3, self.reach, self.c_in)
        return n, *window, self.tile, self.c_out

    def _taps(self, m: Tensor) -> Tensor:
        """Return the view of M that holds the weights: the window's axes with 3 for U, then T, O."""
        size, strides = list(m.shape), list(m.stride())
        axis = 3 if self.images else 2
        size[axis] = 3
        strides[4] += self.stride * strides[axis]
        return m.as_strided(size, strides)
