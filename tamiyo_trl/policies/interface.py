"""What a policy needs to know of an environment, read from its specs; what cannot be served is refused by name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torchrl.data import Binary, TensorSpec
from torchrl.envs import EnvBase

from tamiyo_trl import keys
from tamiyo_trl.errors import SpecError
from tamiyo_trl.policies.heads.codes import ActionCode, heads_of

AUTO = "auto"  # take the mask under keys.ACTION_MASK where the environment shows one


@dataclass(frozen=True)
class Interface:
    """Sizes and keys of an environment.

    Attributes:
        observation_key: the flat float observation.
        features: its size F.
        mask_key: the action mask, or None where every action is always legal.
        heads: how actions are written.
        relevant: bool [n_ops, D], which heads count once head 0 chose op; None where all always do.
    """

    observation_key: str
    features: int
    mask_key: str | None
    heads: ActionCode
    relevant: torch.Tensor | None


def read_interface(
    env: EnvBase,
    observation_key: str,
    mask_key: str | None,
    head_names: tuple[str, ...] = (),
    relevant: tuple[tuple[bool, ...], ...] = (),
) -> Interface:
    """Return the interface of `env`, batched or not.

    Raises:
        SpecError: a missing key, an observation that is not flat and floating, an action that is not discrete, a mask
            of another shape than the action's, several agents or rewards.
    """
    entries = dict(env.full_observation_spec.items(True, True))
    features = size_of(env, observation_key)
    for name, found in (("action", env.action_keys), ("reward", env.reward_keys)):
        if list(found) != [name]:
            raise SpecError(f"the environment must have exactly one {name} called {name!r}, got {list(found)}")
    heads = heads_of(env.full_action_spec[keys.ACTION], env.batch_size, head_names)
    key = _mask_key(entries, mask_key, heads, env.batch_size)
    if key is not None:
        _check_mask(key, entries[key], heads, env.batch_size)
    table = _relevance(relevant, heads, joint=key is not None and len(entries[key].shape) > len(env.batch_size) + 1)
    return Interface(observation_key, features, key, heads, table)


def size_of(env: EnvBase, key: str) -> int:
    """Return the size F of the flat floating entry `key` [*B, F] that `env` shows.

    Raises:
        SpecError: no such entry, or one that is not flat and floating.
    """
    entries, batch = dict(env.full_observation_spec.items(True, True)), env.batch_size
    if key not in entries:
        raise SpecError(f"the environment shows no observation {key!r}: it has {sorted(map(str, entries))}")
    spec = entries[key]
    if not spec.dtype.is_floating_point:
        raise SpecError(f"observation {key!r} has dtype {spec.dtype}: a floating dtype is needed")
    shape = tuple(spec.shape[len(batch) :])
    if len(shape) != 1 or shape[0] < 1:
        raise SpecError(f"observation {key!r} has trailing shape {shape}: a flat vector (F,) is needed")
    return shape[0]


def _mask_key(entries: dict[str, TensorSpec], key: str | None, heads: ActionCode, batch: torch.Size) -> str | None:
    if key is None:
        return None
    if key != AUTO:
        if key not in entries:
            raise SpecError(f"the environment shows no mask {key!r}: it has {sorted(map(str, entries))}")
        return key
    if keys.ACTION_MASK in entries:
        return keys.ACTION_MASK
    for name, spec in entries.items():
        if isinstance(spec, Binary) and tuple(spec.shape[len(batch) :]) in _layouts(heads):
            raise SpecError(
                f"{name!r} looks like an action mask: pass mask_key={name!r}, or mask_key=None to ignore it"
            )
    return None


def _check_mask(key: str, spec: TensorSpec, heads: ActionCode, batch: torch.Size) -> None:
    shape = tuple(spec.shape[len(batch) :])
    if shape not in _layouts(heads):
        allowed = " or ".join(str(layout) for layout in dict.fromkeys(_layouts(heads)))
        raise SpecError(f"mask {key!r} has trailing shape {shape}: heads of {heads.nvec} need {allowed}")
    if spec.dtype.is_floating_point or spec.dtype.is_complex:
        raise SpecError(f"mask {key!r} has dtype {spec.dtype}: bool (or 0/1 integers) is needed")


def _layouts(heads: ActionCode) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (sum(heads.nvec),), heads.nvec


def _relevance(rows: tuple[tuple[bool, ...], ...], heads: ActionCode, joint: bool) -> torch.Tensor | None:
    if not rows:
        return None
    table = torch.tensor(rows, dtype=torch.bool)
    allowed = (heads.nvec[0], len(heads.nvec))
    if joint:
        raise SpecError("a joint mask already says which heads are relevant: leave `relevant` empty")
    if tuple(table.shape) != allowed:
        raise SpecError(f"relevant must be a table of {allowed} (ops x heads), got {tuple(table.shape)}")
    if not table[:, 0].all():
        raise SpecError("head 0 chooses the op and is always relevant: column 0 of relevant must be true")
    return table
