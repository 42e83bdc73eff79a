"""FrameStack: the latest observations side by side, for environments with any number of batch axes."""

from __future__ import annotations

from tensordict import TensorDictBase
from torch import Tensor
from torchrl.envs import CatFrames


class FrameStack(CatFrames):
    """TorchRL's CatFrames for flat observations; CatFrames alone resets single rows of at most one batch axis.

    Args: see CatFrames.
    """

    def _call(self, next_tensordict: TensorDictBase, _reset: Tensor | None = None) -> TensorDictBase:
        if next_tensordict.ndim < 2:
            return super()._call(next_tensordict, _reset)
        rows = next_tensordict.select(*self.in_keys).reshape(-1)
        stacked = super()._call(rows, None if _reset is None else _reset.reshape(-1))
        for key in self.out_keys:
            next_tensordict.set(key, stacked.get(key).reshape(*next_tensordict.shape, -1))
        return next_tensordict
