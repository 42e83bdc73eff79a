"""SideBySide: several entries as one flat float vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import NestedKey, TensorDictBase
from torchrl.data import Composite, Unbounded
from torchrl.envs import Transform


class SideBySide(Transform):
    """Writes entries of any real type one after another, in the order given, as one float vector [*, F].

    TorchRL's CatTensors sorts its entries and wants them of one type; here booleans and integers are converted. The
    vector is float64 where an entry is float64, int32 or int64, whose values float32 cannot tell apart, else float32.

    Args:
        in_keys: the entries, each [*, F_i].
        out_key: where the vector is written.

    Raises:
        ValueError: an entry that is not flat.
    """

    def __init__(self, in_keys: Sequence[NestedKey], out_key: NestedKey) -> None:
        super().__init__(in_keys=list(in_keys), out_keys=[out_key])

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        parts = [next_tensordict.get(key) for key in self.in_keys]
        dtype = _common(*(part.dtype for part in parts))
        return next_tensordict.set(self.out_keys[0], torch.cat([part.to(dtype) for part in parts], -1))

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        return self._call(tensordict_reset)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Add the vector."""
        specs = [observation_spec[key] for key in self.in_keys]
        for key, spec in zip(self.in_keys, specs):
            if len(spec.shape) != observation_spec.ndim + 1:
                raise ValueError(f"{key!r} has shape {tuple(spec.shape)}: SideBySide needs a flat entry")
        shape = (*observation_spec.shape, sum(spec.shape[-1] for spec in specs))
        dtype = _common(*(spec.dtype for spec in specs))
        observation_spec[self.out_keys[0]] = Unbounded(shape=shape, dtype=dtype, device=observation_spec.device)
        return observation_spec


def _common(*dtypes: torch.dtype) -> torch.dtype:
    """Return the smallest of float32 and float64 that holds every value of `dtypes`."""
    wide = {torch.float64, torch.int32, torch.int64}
    return torch.float64 if wide & set(dtypes) else torch.float32
