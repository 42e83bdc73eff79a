"""How an environment writes a discrete action: sizes and names of its heads, and the coding of an action tensor."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchrl.data import Categorical, MultiCategorical, MultiOneHot, OneHot, TensorSpec

from tamiyo_trl.errors import SpecError


@dataclass(frozen=True)
class ActionCode:
    """Sizes and names of action heads, and how an action tensor writes one value of each.

    Attributes:
        nvec: number of values of each head.
        head_names: name of each head, in order.
        dtype: dtype of an action tensor.
    """

    nvec: tuple[int, ...]
    head_names: tuple[str, ...] = ()
    dtype: torch.dtype = field(default=torch.int64)

    def __post_init__(self) -> None:
        """Name the heads `head_0`, `head_1`, ... where no names are given."""
        names = self.head_names or tuple(f"head_{i}" for i in range(len(self.nvec)))
        if len(names) != len(self.nvec) or len(set(names)) != len(names):
            raise SpecError(f"head_names must name {len(self.nvec)} heads, each differently, got {names}")
        object.__setattr__(self, "head_names", tuple(names))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Trailing shape of an action tensor."""
        raise NotImplementedError

    @property
    def written(self) -> str:
        """The coding in words, for messages."""
        return f"{type(self).__name__}{self.nvec} in {self.dtype}, named {self.head_names}"

    def encode(self, index: Tensor) -> Tensor:
        """Return the action tensor of head indices int64 [*B, D]."""
        raise NotImplementedError

    def decode(self, action: Tensor) -> Tensor:
        """Return head indices int64 [*B, D] of an action tensor."""
        raise NotImplementedError


class Heads(ActionCode):
    """Several heads as indices side by side: a MultiCategorical action, int64 [*B, D]."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Trailing shape of an action tensor."""
        return (len(self.nvec),)

    def encode(self, index: Tensor) -> Tensor:
        """Return the action tensor of head indices int64 [*B, D]."""
        return index.to(self.dtype)

    def decode(self, action: Tensor) -> Tensor:
        """Return head indices int64 [*B, D] of an action tensor."""
        return action.to(torch.int64)


class ScalarHead(ActionCode):
    """One head as a bare index: a Categorical action, int64 [*B]."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Trailing shape of an action tensor."""
        return ()

    def encode(self, index: Tensor) -> Tensor:
        """Return the action tensor of head indices int64 [*B, 1]."""
        return index.squeeze(-1).to(self.dtype)

    def decode(self, action: Tensor) -> Tensor:
        """Return head indices int64 [*B, 1] of an action tensor."""
        return action.to(torch.int64).unsqueeze(-1)


class OneHotHeads(ActionCode):
    """Heads as one-hot vectors side by side: a OneHot or MultiOneHot action, [*B, sum(nvec)]."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Trailing shape of an action tensor."""
        return (sum(self.nvec),)

    def encode(self, index: Tensor) -> Tensor:
        """Return the action tensor of head indices int64 [*B, D]."""
        parts = [torch.nn.functional.one_hot(index[..., i], n) for i, n in enumerate(self.nvec)]
        return torch.cat(parts, -1).to(self.dtype)

    def decode(self, action: Tensor) -> Tensor:
        """Return head indices int64 [*B, D] of an action tensor."""
        return torch.stack([part.to(torch.int64).argmax(-1) for part in action.split(self.nvec, -1)], -1)


class StackedOneHotHeads(ActionCode):
    """Heads of equal size as one-hot rows: what Gymnasium's MultiDiscrete([n, n]) becomes, [*B, D, n]."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Trailing shape of an action tensor."""
        return (len(self.nvec), self.nvec[0])

    def encode(self, index: Tensor) -> Tensor:
        """Return the action tensor of head indices int64 [*B, D]."""
        return torch.nn.functional.one_hot(index, self.nvec[0]).to(self.dtype)

    def decode(self, action: Tensor) -> Tensor:
        """Return head indices int64 [*B, D] of an action tensor."""
        return action.to(torch.int64).argmax(-1)


def heads_of(spec: TensorSpec, batch_size: torch.Size, head_names: tuple[str, ...] = ()) -> ActionCode:
    """Return how an action spec writes its heads.

    Several heads of equal size come as MultiCategorical, or as Categorical or Binary with one more axis [*B, D], or as
    OneHot rows [*B, D, n].

    Raises:
        SpecError: the spec is not Categorical, MultiCategorical, Binary, OneHot or MultiOneHot with a flat event, or
            environments of one batch have different actions.
    """
    shape = tuple(spec.shape[len(batch_size) :])
    kind: type[ActionCode]
    if isinstance(spec, MultiOneHot):
        nvec, kind = tuple(int(box.n) for box in spec.space.boxes), OneHotHeads
    elif isinstance(spec, OneHot):
        stacked = len(shape) == 2
        nvec, kind = (int(spec.space.n),) * (shape[0] if stacked else 1), StackedOneHotHeads if stacked else OneHotHeads
    elif isinstance(spec, MultiCategorical):
        rows = torch.as_tensor(spec.nvec).reshape(-1, shape[-1])
        if not (rows == rows[0]).all():
            raise SpecError(f"the environments of a batch must have the same actions, got heads of {rows.tolist()}")
        nvec, kind = tuple(int(n) for n in rows[0]), Heads
    elif isinstance(spec, Categorical):
        nvec, kind = (int(spec.space.n),) * (shape[0] if shape else 1), Heads if shape else ScalarHead
    else:
        raise SpecError(
            f"action spec {type(spec).__name__} cannot be served: allowed are Categorical, MultiCategorical, Binary, "
            "OneHot and MultiOneHot"
        )
    if min(nvec, default=0) < 1:
        raise SpecError(f"every action head needs at least one value, got heads of {nvec}")
    heads = kind(nvec, head_names, spec.dtype)
    if shape != heads.event_shape:
        raise SpecError(f"an action of trailing shape {shape} cannot be served: {heads.event_shape} is allowed here")
    return heads
