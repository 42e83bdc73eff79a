"""What a policy needs to know of an environment, read from its specs; what cannot be served is refused by name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchrl.data import Binary, TensorSpec
from torchrl.envs import EnvBase

from tamiyo_trl import keys
from tamiyo_trl.errors import IllegalActionError, SpecError
from tamiyo_trl.policies.actions import ActionCode, heads_of
from tamiyo_trl.policies.heads.legality import is_playable
from tamiyo_trl.policies.observations import AUTO, Entries, observed


@dataclass(frozen=True)
class Interface:
    """Sizes and keys of an environment.

    Attributes:
        observation_key: the flat float observation.
        features: its size F.
        mask_key: the action mask, or None where every action is always legal.
        joint: whether the mask is one of joint actions [*B, *nvec] rather than of heads side by side.
        heads: how actions are written.
        relevant: bool [n_ops, D], which heads count once head 0 chose op; None where all always do.
    """

    sources: tuple[str, ...]
    features: int
    mask_key: str | None
    joint: bool
    heads: ActionCode
    relevant: torch.Tensor | None

    @property
    def observation_key(self) -> str:
        """The entry that is read: the one that is observed, or the vector in which several lie side by side."""
        return self.sources[0] if len(self.sources) == 1 else keys.OBSERVED

    @property
    def form(self) -> str:
        """What is read and how actions are written, in one line, for run folders."""
        mask = "no mask" if self.mask_key is None else f"{self.mask_key} ({'joint' if self.joint else 'side by side'})"
        return f"{', '.join(self.sources)} ({self.features}); {mask}; {self.heads.written}"

    def differences(self, other: Interface) -> list[str]:
        """Return in words what `other` has that differs from this."""
        found = []
        if self.features != other.features:
            found.append(f"observation {list(self.sources)} has {other.features} features, not {self.features}")
        if self.heads.nvec != other.heads.nvec:
            found.append(f"actions have heads of {other.heads.nvec} values, not {self.heads.nvec}")
        elif self.heads.written != other.heads.written:
            found.append(f"actions are written as {other.heads.written}, not {self.heads.written}")
        if self.mask_key is None and other.mask_key is not None:
            found.append(f"there is a mask {other.mask_key!r}, which the policy does not read")
        elif self.mask_key is not None and other.mask_key is None:
            found.append(f"there is no mask {self.mask_key!r}")
        elif self.joint != other.joint:
            layouts = {True: "of joint actions", False: "of heads side by side"}
            found.append(f"mask {self.mask_key!r} is one {layouts[other.joint]}, not {layouts[self.joint]}")
        return found

    def check_playable(self, mask: Tensor, time: tuple[int, ...]) -> None:
        """Check that `mask` [*B, ...], or [*B, T, ...] with `time` (T,), leaves some action legal everywhere.

        Raises:
            IllegalActionError: it does not; the message names environment and step, and the head at fault.
        """
        playable = is_playable(mask, self.heads.nvec, self.relevant, self.joint)
        if playable.all():
            return
        place = (~playable).nonzero()[0].tolist()
        *env, step = place if time else (*place, None)
        where = f"environment {env[0] if len(env) == 1 else tuple(env)}" if env else "the environment"
        when = "" if step is None else f" at step {step} of its batch"
        parts = [] if self.joint else mask[tuple(place)].bool().split(self.heads.nvec, -1)
        empty = [name for name, part in zip(self.heads.head_names, parts) if not part.any()]
        what = f" of head {empty[0]!r}" if 0 < len(empty) < len(parts) else ""
        raise IllegalActionError(
            f"nothing is legal: the mask {self.mask_key!r} of {where} forbids every value{what}{when}; an environment "
            "must leave an action legal at every step, or end the episode before"
        )


def read_interface(
    env: EnvBase,
    observation_key: str | tuple[str, ...],
    mask_key: str | None,
    head_names: tuple[str, ...] = (),
    relevant: tuple[tuple[bool, ...], ...] = (),
    critic_keys: tuple[str, ...] = (),
) -> Interface:
    """Return the interface of `env`, batched or not.

    Raises:
        SpecError: a missing key, an observation that is not flat and real, entries that would be ignored, an action
            that is not discrete, a mask of another shape than the action's, several agents or rewards.
    """
    entries = dict(env.full_observation_spec.items(True, True))
    for name, found in (("action", env.action_keys), ("reward", env.reward_keys)):
        if list(found) != [name]:
            raise SpecError(f"the environment must have exactly one {name} called {name!r}, got {list(found)}")
    heads = heads_of(env.full_action_spec[keys.ACTION], env.batch_size, head_names)
    key = _mask_key(entries, mask_key, heads, env.batch_size)
    if key is not None:
        _check_mask(key, entries[key], heads, env.batch_size)
    others = {str(key), *critic_keys, *_masks(entries, heads, env.batch_size)}
    sources, features = observed(env, entries, observation_key, others)
    joint = key is not None and len(entries[key].shape) > len(env.batch_size) + 1
    _check_reward(env.full_reward_spec[keys.REWARD], env.batch_size)
    return Interface(sources, features, key, joint, heads, _relevance(relevant, heads, joint))


def _check_reward(spec: TensorSpec, batch: torch.Size) -> None:
    shape = tuple(spec.shape[len(batch) :])
    if shape != (1,) or spec.dtype.is_complex:
        raise SpecError(
            f"'reward' has dtype {spec.dtype} and trailing shape {shape}: one real number (1,) per environment is "
            "needed; unsqueeze it (torchrl.envs.UnsqueezeTransform), or sum several into one"
        )


def _mask_key(entries: Entries, key: str | None, heads: ActionCode, batch: torch.Size) -> str | None:
    if key is None:
        return None
    if key != AUTO:
        if key not in entries:
            raise SpecError(f"the environment shows no mask {key!r}: it has {sorted(map(str, entries))}")
        return key
    if keys.ACTION_MASK in entries:
        return keys.ACTION_MASK
    for name in _masks(entries, heads, batch):
        raise SpecError(f"{name!r} looks like an action mask: pass mask_key={name!r}, or mask_key=None to ignore it")
    return None


def _masks(entries: Entries, heads: ActionCode, batch: torch.Size) -> list[str]:
    """Return the entries that look like action masks."""
    found = [name for name, spec in entries.items() if isinstance(spec, Binary)]
    return [name for name in found if tuple(entries[name].shape[len(batch) :]) in _layouts(heads)]


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
