"""The same hosts shared out over several processes, by TorchRL's ParallelEnv or MultiSyncCollector."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torchrl.envs import EnvBase, ParallelEnv

from tamiyo_trl.envs.growth.config import GrowthConfig
from tamiyo_trl.envs.growth.env import GrowthEnv
from tamiyo_trl.errors import ConfigError


def make_growth_env(config: GrowthConfig, n_envs: int, seed: int, processes: int = 1, group_size: int = 1) -> EnvBase:
    """Return the `n_envs` envs of this seed: one GrowthEnv [E], or a ParallelEnv [processes, E / processes] of them.

    Env e plays the same episodes in both (to float tolerance: fleets of another size round differently). Every process
    computes with one thread.

    Raises:
        ConfigError: the envs cannot be shared out equally.
    """
    makers = growth_env_makers(config, n_envs, seed, processes, group_size)
    if processes == 1:
        return GrowthEnv(config, n_envs, seed, group_size=group_size)
    # With buffers the parent polls without pause and takes a core away from its workers.
    return ParallelEnv(processes, makers, mp_start_method="spawn", use_buffers=False)


def growth_env_makers(
    config: GrowthConfig, n_envs: int, seed: int, processes: int, group_size: int = 1
) -> list[Callable[[], GrowthEnv]]:
    """Return one maker of a GrowthEnv [E / processes] per process; together they are the `n_envs` envs of this seed.

    A MultiSyncCollector takes them, each wrapped in the policy's transforms, without which it would collect no states
    (docs/torchrl.md shows how). It waits for the slower process once per batch, not once per step as
    ParallelEnv does, and so gets more out of the cores.

    Raises:
        ConfigError: the envs cannot be shared out equally.
    """
    if processes < 1 or n_envs % processes:
        raise ConfigError(f"n_envs must be a multiple of processes: {n_envs} is not of {processes}")
    each = n_envs // processes
    if each % group_size:
        raise ConfigError(f"a group must lie in one process: {each} envs a process are not of groups of {group_size}")
    return [partial(_in_worker, config, each, seed, worker * each, group_size) for worker in range(processes)]


def _in_worker(config: GrowthConfig, n_envs: int, seed: int, first_env: int, group_size: int) -> GrowthEnv:
    torch.set_num_threads(1)
    return GrowthEnv(config, n_envs, seed, first_env=first_env, group_size=group_size)
