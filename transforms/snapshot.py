"""Snapshot: what an environment showed stays what it showed, whatever the environment does with its memory."""

from __future__ import annotations

from tensordict import TensorDictBase
from torchrl.envs import Transform


class Snapshot(Transform):
    """Hands on copies of all entries, and gives the environment copies to work on.

    Many simulators write rewards, flags, masks or observations into one buffer and return it at every step, or write
    into what they are given. Without copies, every step that is stored then holds what the last one showed. Place it
    first, next to the environment, or last: everything that enters or leaves it is copied.
    """

    def __init__(self) -> None:
        super().__init__(in_keys=[], out_keys=[])

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        return next_tensordict.clone()

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        return tensordict_reset.clone()

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase:
        return tensordict.clone()

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Return `tensordict` itself: what is read back from storage is nobody's buffer."""
        return tensordict
