"""What a memory is made of: a core that takes one step or runs whole rows, and the module that feeds it a tensordict.

The carried state lives in the tensordict: it enters under its plain key and leaves under ("next", key). Zeros mean
"start here": TorchRL's primer writes them when an episode begins.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn
from torchrl.data import Unbounded
from torchrl.envs import TensorDictPrimer, Transform
from torchrl.modules import recurrent_mode

from tamiyo_trl import keys
from tamiyo_trl.errors import SpecError


class MemoryCore(nn.Module):
    """The maths of a memory; subclass it to bring your own.

    Attributes:
        out_features: size H of the output.
        state_shapes: the shape of each carried state of one environment, by name; empty for none.
    """

    def __init__(self, out_features: int, state_shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.out_features, self.state_shapes = out_features, state_shapes

    def as_module(self, in_key: str, out_key: str, prefix: str = "") -> MemoryModule:
        """Return the tensordict module of this core, its states under `prefix` + their names."""
        return MemoryModule(self, in_key, out_key, prefix)

    def step(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """Return output [B, H] and next states [B, ...] of one step from x [B, F]; a state of zeros starts anew."""
        raise NotImplementedError

    def run(self, x: Tensor, states: Sequence[Tensor], is_init: Tensor) -> Tensor:
        """Return outputs [B, L, H] of rows x [B, L, F].

        A row starts from the state stored at its first step; where `is_init` bool [B, L] is set, the carried state is
        replaced by the one stored there. `states` are [B, L, ...]. This default takes the steps one by one.
        """
        outputs: list[Tensor] = []
        carried: Sequence[Tensor] = [state[:, 0] for state in states]
        for t in range(x.shape[1]):
            if t > 0:
                cut = is_init[:, t]
                carried = [torch.where(_wide(cut, s), old[:, t], s) for old, s in zip(states, carried)]
            y, carried = self.step(x[:, t], carried)
            outputs.append(y)
        return torch.stack(outputs, 1)


class FeedforwardCore(MemoryCore):
    """Remembers nothing: any map from F to `out_features`, step by step."""

    def __init__(self, net: nn.Module, out_features: int) -> None:
        super().__init__(out_features, {})
        self.net = net

    def step(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the map of x and no states."""
        return self.net(x), ()

    def run(self, x: Tensor, states: Sequence[Tensor], is_init: Tensor) -> Tensor:
        """Return the map of all steps at once."""
        return self.net(x)


class MemoryModule(TensorDictModuleBase):
    """A memory core on tensordicts, from `in_key` to `out_key`, its states under `prefix` + their names.

    LSTM and GRU come as subclasses that are TorchRL's own modules as well (see `recurrent.py`).

    Under `torchrl.modules.set_recurrent_mode(True)` the last batch axis is time: rows are run as a whole and no next
    states are written. Otherwise one step is taken and the next states are written.

    Attributes:
        core: the maths.
        state_keys: the entries carried from ("next", key) to key.
        out_features: size of the output.
    """

    def __init__(self, core: MemoryCore, in_key: str, out_key: str, prefix: str = "") -> None:
        super().__init__()
        self._declare(core, in_key, out_key, prefix)

    def _declare(self, core: MemoryCore, in_key: str, out_key: str, prefix: str) -> None:
        """Take over the core and derive every key from the states it declares."""
        self.core = core
        self.out_features = core.out_features
        self.state_keys = tuple(prefix + name for name in core.state_shapes)
        is_init = [keys.IS_INIT] if self.state_keys else []
        self.in_keys = [in_key, *self.state_keys, *is_init]
        self.out_keys = [out_key, *(("next", key) for key in self.state_keys)]

    def transforms(self) -> list[Transform]:
        """Return fresh environment transforms that carry the states: a primer, or nothing for a core without states."""
        if not self.state_keys:
            return []
        shapes = zip(self.state_keys, self.core.state_shapes.values())
        return [TensorDictPrimer({key: Unbounded(shape=shape) for key, shape in shapes}, expand_specs=True)]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the output and, outside recurrent mode, the next states."""
        x = tensordict.get(self.in_keys[0])
        states, is_init = self.read(tensordict)
        if recurrent_mode():
            return tensordict.set(self.out_keys[0], self.rows(x, states, is_init))
        y, following = self.act(x, states, is_init)
        tensordict.set(self.out_keys[0], y)
        for key, state in zip(self.out_keys[1:], following):
            tensordict.set(key, state)
        return tensordict

    def read(self, tensordict: TensorDictBase) -> tuple[list[Tensor], Tensor | None]:
        """Return the stored states and, where there are any, is_init.

        Raises:
            SpecError: an entry is missing; TorchRL alone would run on without memory.
        """
        found = [tensordict.get(key, None) for key in self.in_keys[1:]]
        for key, value in zip(self.in_keys[1:], found):
            if value is None:
                raise SpecError(f"{key!r} is missing: wrap the environment in actor_critic.transforms()")
        return found[:-1], found[-1] if found else None

    def act(self, x: Tensor, states: Sequence[Tensor], is_init: Tensor | None) -> tuple[Tensor, Sequence[Tensor]]:
        """Return output and next states of one step, x [*B, F] and states [*B, ...]; `is_init` [*B, 1] starts anew."""
        batch = x.shape[:-1]
        if len(batch) != 1:
            x = x.reshape(-1, x.shape[-1])
            states = [state.reshape(-1, *state.shape[len(batch) :]) for state in states]
        if is_init is not None:
            fresh = is_init.reshape(-1)
            states = [state.masked_fill(_wide(fresh, state), 0.0) for state in states]
        y, following = self.core.step(x, states)
        if len(following) != len(self.state_keys):
            raise SpecError(
                f"{type(self.core).__name__}.step returned {len(following)} next states: its state_shapes name "
                f"{len(self.state_keys)}: {list(self.state_keys)}"
            )
        if len(batch) != 1:
            return y.reshape(*batch, -1), [state.reshape(*batch, *state.shape[1:]) for state in following]
        return y, following

    def rows(self, x: Tensor, states: Sequence[Tensor], is_init: Tensor | None) -> Tensor:
        """Return outputs [*B, L, H] of rows x [*B, L, F] with the states stored at their steps; no next states."""
        batch = x.shape[:-1]
        length = batch[-1] if batch else 1
        if is_init is None:
            is_init = torch.zeros(batch, dtype=torch.bool, device=x.device)
        rows = [value.reshape(-1, length, *value.shape[len(batch) :]) for value in (x, *states)]
        return self.core.run(rows[0], rows[1:], is_init.reshape(-1, length)).reshape(*batch, -1)


def _wide(flag: Tensor, like: Tensor) -> Tensor:
    """Return `flag` [B] with trailing axes of 1 so that it broadcasts against `like` [B, ...]."""
    return flag.reshape(-1, *[1] * (like.ndim - 1))
