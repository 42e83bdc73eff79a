"""The collector: TorchRL's, with the transforms the policy needs and nothing stored that the update does not read."""

from __future__ import annotations

from collections.abc import Iterator

from tensordict import NestedKey
from torchrl.collectors import Collector as SyncDataCollector
from torchrl.envs import Compose, EnvBase, Transform, TransformedEnv

from tamiyo_trl.collectors.lean import LeanCollector
from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.transforms import Snapshot


def make_collector(
    env: EnvBase, actor_critic: ActorCritic, frames_per_batch: int, total_frames: int
) -> SyncDataCollector:
    """Return a collector of batches [*, T] of `env` under the sampling policy of `actor_critic`.

    `frames_per_batch` and `total_frames` count steps of all environments together. The policy's transforms are added
    where they are missing; `env` itself is not changed. The policy's weights are shared, so what the learner changes is
    what collects next.

    Raises:
        ConfigError: a batch that does not hold the same number of steps of every environment, or a total that is not
            whole batches.
        SpecError: the environment and the policy are on different devices, or the environment is not of the form the
            policy was made for.
    """
    actor_critic.check_env(env)
    envs = env.batch_size.numel()
    check_frames(envs, frames_per_batch, total_frames)
    device = next(actor_critic.parameters()).device
    if env.device is not None and env.device != device:
        raise SpecError(f"environment and policy must share a device: {env.device} and {device}")
    return LeanCollector(
        with_transforms(env, actor_critic),
        actor_critic.collection_policy(),
        frames_per_batch=frames_per_batch,
        total_frames=total_frames,
    )


def check_frames(envs: int, frames_per_batch: int, total_frames: int) -> None:
    """Check that `envs` environments can fill batches of `frames_per_batch` up to `total_frames`.

    Raises:
        ConfigError: a number below 1, or one that does not divide the next.
    """
    for name, value in (("frames_per_batch", frames_per_batch), ("total_frames", total_frames)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1: {value}")
    if frames_per_batch % envs:
        raise ConfigError(
            f"frames_per_batch must be a multiple of the environments: {frames_per_batch} is not of {envs}"
        )
    if total_frames % frames_per_batch:
        raise ConfigError(
            f"total_frames must be a multiple of frames_per_batch: {total_frames} is not of {frames_per_batch}"
        )


def with_transforms(env: EnvBase, actor_critic: ActorCritic) -> EnvBase:
    """Return `env` with those of the policy's transforms whose entries it does not show yet; `env` is not changed."""
    copied = any(isinstance(transform, Snapshot) for transform in _transforms(env))
    missing, grown = [], env
    for transform in actor_critic.transforms():
        transform.reset_parent()
        candidate = TransformedEnv(grown, transform, auto_unwrap=False)
        if not _entries(candidate) <= _entries(grown) or (isinstance(transform, Snapshot) and not copied):
            missing.append(transform)
            grown = candidate
    for transform in missing:
        transform.reset_parent()
    return TransformedEnv(env, Compose(*missing), auto_unwrap=False) if missing else env


def _transforms(env: EnvBase) -> Iterator[Transform]:
    while isinstance(env, TransformedEnv):
        yield from env.transform if isinstance(env.transform, Compose) else [env.transform]
        env = env.base_env


def _entries(env: EnvBase) -> set[NestedKey]:
    return set(env.full_observation_spec.keys(include_nested=True, leaves_only=True))
