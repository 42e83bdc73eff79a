"""FlatAction: several action heads under a joint mask as one masked categorical."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Categorical, Composite, MultiCategorical
from torchrl.envs import EnvBase, Transform, TransformedEnv


def joint_actions(nvec: Sequence[int]) -> Tensor:
    """Return every joint action of heads with `nvec` values, int64 [prod(nvec), D], the last head fastest."""
    return torch.cartesian_prod(*(torch.arange(n) for n in nvec)).reshape(-1, len(nvec))


class FlatAction(Transform):
    """Shows a MultiCategorical action with a joint mask as one masked Categorical.

    Flat action i stands for the joint action `table[i]`; the flat mask, bool [*, A], is the joint mask [*, *nvec] read
    at the table's rows. Without a mask entry (`mask_key=None`) only the action is translated.

    Args:
        table: int64 [A, D], the joint actions on offer, each once.
        action_key: the action.
        mask_key: the joint mask.

    Raises:
        ValueError: a malformed table, an action or mask of another shape, or a state in which no row is legal.
    """

    table: Tensor

    def __init__(self, table: Tensor, action_key: NestedKey = "action", mask_key: NestedKey | None = "action_mask"):
        table = torch.as_tensor(table)
        if table.ndim != 2 or table.numel() == 0 or table.dtype != torch.int64:
            raise ValueError(f"table must be int64 [A, D], got {table.dtype} {tuple(table.shape)}")
        if len(table.unique(dim=0)) != len(table):
            raise ValueError("every joint action may stand in the table only once")
        masks = [] if mask_key is None else [mask_key]
        super().__init__(masks, list(masks), in_keys_inv=[action_key], out_keys_inv=[action_key])
        self.register_buffer("table", table)

    def _apply_transform(self, obs: Tensor) -> Tensor:
        rows: tuple[Any, ...] = (..., *self.table.unbind(-1))
        flat = obs[rows]
        if not flat.any(-1).all():
            raise ValueError("no joint action of the table is legal here: add the missing rows to the table")
        return flat

    def _inv_apply_transform(self, state: Tensor) -> Tensor:
        return self.table[state]

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        return self._call(tensordict_reset)

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Replace the joint mask by the flat one."""
        for key in self.in_keys:
            spec = observation_spec[key]
            nvec = tuple(self._nvec().tolist())
            if tuple(spec.shape[observation_spec.ndim :]) != nvec:
                joint = (*observation_spec.shape, *nvec)
                raise ValueError(f"{key!r} has shape {tuple(spec.shape)}, not the joint mask {joint}")
            shape = (*observation_spec.shape, len(self.table))
            observation_spec[key] = Binary(shape=shape, dtype=torch.bool, device=spec.device)
        return observation_spec

    def transform_input_spec(self, input_spec: Composite) -> Composite:
        """Replace the several heads by one."""
        spec, key = self._native_spec(), self.in_keys_inv[0]
        nvec = self._nvec()
        if self.table.shape[-1] != len(nvec) or (self.table < 0).any() or (self.table >= nvec.to(self.table)).any():
            raise ValueError(f"the table's rows must be joint actions of heads with {nvec.tolist()} values")
        shape = spec.shape[:-1]
        input_spec["full_action_spec", key] = Categorical(len(self.table), shape=shape, device=spec.device)
        return input_spec

    def _native_spec(self) -> MultiCategorical:
        spec = self.parent.full_action_spec[self.in_keys_inv[0]]
        if not isinstance(spec, MultiCategorical):
            raise ValueError(f"FlatAction flattens MultiCategorical actions, got {type(spec).__name__}")
        return spec

    def _nvec(self) -> Tensor:
        nvec = self._native_spec().nvec
        return nvec.reshape(-1, nvec.shape[-1])[0]

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Return a legal flat action, uniformly drawn where the mask is in `tensordict`, else the native env's own."""
        key = self.in_keys_inv[0]
        out = TensorDict(batch_size=self.parent.batch_size) if tensordict is None else tensordict
        if self.in_keys and self.in_keys[0] in out.keys(True, True):
            score = torch.rand(out.get(self.in_keys[0]).shape).masked_fill_(~out.get(self.in_keys[0]), -1.0)
            return out.set(key, score.argmax(-1))
        native = self.parent.rand_action(TensorDict(batch_size=self.parent.batch_size)).get(key)
        return out.set(key, self.index_of(native))

    def index_of(self, action: Tensor) -> Tensor:
        """Return the flat action of joint actions int64 [*, D].

        Raises:
            ValueError: a joint action that is not in the table.
        """
        same = (action.unsqueeze(-2) == self.table).all(-1)
        if not same.any(-1).all():
            raise ValueError("a joint action is not in the table")
        return same.int().argmax(-1)

    def set_container(self, container: Transform | EnvBase) -> None:
        """Join a chain of transforms, and draw the random actions of the environment it transforms."""
        super().set_container(container)
        root: Transform | EnvBase | None = container
        while isinstance(root, Transform):
            reference = root.__dict__["_container"]  # `root.container` raises as long as no environment is there
            root = None if reference is None else reference()
        # TransformedEnv refuses rand_action when the native env overrides it and a transform changes the action,
        # because it cannot invert the change. Here it can be inverted, so the env gets a rand_action that does.
        if isinstance(root, TransformedEnv):
            root.rand_action = self.rand_action
