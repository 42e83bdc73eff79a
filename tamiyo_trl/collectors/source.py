"""Source: where training gets its batches from, in this process or from workers, and how it is stopped and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from tensordict import TensorDictBase
from torchrl.envs import EnvBase

from tamiyo_trl.collectors.carry import collector_state, load_collector_state
from tamiyo_trl.collectors.collector import make_collector
from tamiyo_trl.policies import ActorCritic


class Source(Protocol):
    """Batches of experience, and where their making stands.

    Attributes:
        batch_size: of the environments, without time.
    """

    batch_size: torch.Size

    def __iter__(self) -> Iterator[TensorDictBase]:
        """Yield batches [*batch_size, T]."""
        ...

    def state(self) -> dict[str, Any]:
        """Return where every environment stands between two batches."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned; the next batch is the one that would have come."""
        ...

    def shutdown(self) -> None:
        """Let go of everything this started."""
        ...


class OwnEnvironment:
    """Batches of one environment, collected in this process and left open at the end."""

    def __init__(self, env: EnvBase, actor_critic: ActorCritic, frames_per_batch: int, total_frames: int) -> None:
        self.batch_size = env.batch_size
        self._collector = make_collector(env, actor_critic, frames_per_batch, total_frames)

    def __iter__(self) -> Iterator[TensorDictBase]:
        """Yield batches [*E, T]."""
        return iter(self._collector)

    def state(self) -> dict[str, Any]:
        """Return where the environment stands between two batches."""
        return collector_state(self._collector)

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        load_collector_state(self._collector, state)

    def shutdown(self) -> None:
        """Let the collector go; the environment is its owner's."""
        self._collector.shutdown(close_env=False)
