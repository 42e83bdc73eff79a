"""Which entries of an environment a policy reads: flat and real, and none that matters left unread by accident."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torchrl.data import TensorSpec
from torchrl.envs import Compose, EnvBase, TensorDictPrimer, TransformedEnv

from tamiyo_trl import keys
from tamiyo_trl.errors import SpecError

AUTO = "auto"  # take what the environment shows under the usual name
STATES = (keys.HIDDEN, keys.HIDDEN_H, keys.HIDDEN_C)
BOOKKEEPING = {  # what TorchRL's and this library's transforms add to what an environment shows
    *(keys.IS_INIT, keys.EPISODE_REWARD, keys.FRAMES, keys.OBSERVED, keys.PRIVILEGED, keys.DONE, keys.TERMINATED),
    *(keys.TRUNCATED, "step_count", "episode_step", *STATES, *("critic_" + name for name in STATES)),
}
Entries = Mapping[Any, TensorSpec]


def observed(
    env: EnvBase, entries: Entries, asked: str | tuple[str, ...], ignored: set[str]
) -> tuple[tuple[str, ...], int]:
    """Return the entries that a policy reads, in order, and their number of features together.

    Raises:
        SpecError: an entry that is missing, not flat or not real; or, where `asked` is "auto", one beside `observation`
            that the policy would ignore and that is not among `ignored`.
    """
    if asked == AUTO:
        found: tuple[str, ...] = (keys.OBSERVATION,)
    else:
        found = (asked,) if isinstance(asked, str) else tuple(asked)
    if not found or len(set(found)) != len(found):
        raise SpecError(f"observation_key must name at least one entry, each once: {found}")
    features = sum(_features(entries, key, env.batch_size) for key in found)
    unread = sorted(key for key in entries if isinstance(key, str) and key not in {*found, *ignored, *BOOKKEEPING})
    unread = [key for key in unread if key not in set(_primed(env)) and not entries[key].dtype.is_complex]
    if asked == AUTO and unread:
        raise SpecError(
            f"the policy would ignore {unread}, which the environment shows beside 'observation': pass "
            f"observation_key={(*found, *unread)} to read all of them, side by side in this order, or "
            "observation_key='observation' to ignore them on purpose"
        )
    return found, features


def size_of(env: EnvBase, key: str) -> int:
    """Return the size F of the flat entry `key` [*B, F] that `env` shows.

    Raises:
        SpecError: no such entry, or one that is not flat and real.
    """
    return _features(dict(env.full_observation_spec.items(True, True)), key, env.batch_size)


def _features(entries: Entries, key: str, batch: torch.Size) -> int:
    if key not in entries:
        raise SpecError(f"the environment shows no observation {key!r}: it has {sorted(map(str, entries))}")
    spec = entries[key]
    if spec.dtype is None or spec.dtype.is_complex:
        raise SpecError(f"observation {key!r} has dtype {spec.dtype}: real numbers are needed")
    shape = tuple(spec.shape[len(batch) :])
    if len(shape) > 1:
        raise SpecError(
            f"observation {key!r} has trailing shape {shape}: a flat vector (F,) is needed; flatten it "
            "(torchrl.envs.FlattenObservation), or show the features of an encoder of your own in its place"
        )
    if len(shape) != 1 or shape[0] < 1:
        raise SpecError(
            f"observation {key!r} has trailing shape {shape}: a flat vector (F,) is needed; unsqueeze a single number "
            "(torchrl.envs.UnsqueezeTransform), show one of n categories as one-hot"
        )
    return int(shape[0])


def _primed(env: EnvBase) -> Iterator[Any]:
    """Return what primers around the environment add: the carried states of some policy."""
    while isinstance(env, TransformedEnv):
        for transform in env.transform if isinstance(env.transform, Compose) else [env.transform]:
            if isinstance(transform, TensorDictPrimer):
                yield from transform.primers.keys(True, True)
        env = env.base_env


def check_autoreset(env: EnvBase) -> None:
    """Check that the last observation of an episode is shown before the next one begins.

    Raises:
        SpecError: a Gymnasium vector environment that resets on the next step; TorchRL shows zeros in its place, which
            the value of a truncated episode would be taken from.
    """
    while isinstance(env, TransformedEnv):
        env = env.base_env
    metadata = getattr(vars(env).get("_env"), "metadata", None) or {}
    mode = metadata.get("autoreset_mode") if isinstance(metadata, Mapping) else None
    if getattr(mode, "name", "") == "NEXT_STEP":
        raise SpecError(
            "a Gymnasium vector environment in autoreset mode NEXT_STEP (GymEnv(num_envs=...)) hides the last "
            "observation of an episode: use SerialEnv or ParallelEnv of single environments, or a vector environment "
            "in AutoresetMode.SAME_STEP"
        )
