"""Workers: several environments, each with a collector and random streams of its own, in this process or in others.

Worker w collects [*, T] from environment w; a batch stacks the workers, [W, *, T]. The numbers depend on the seed and
on how many workers there are, not on where they run: `InlineWorkers` and `ProcessWorkers` give the same batches.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from tensordict import TensorDictBase
from torchrl.envs import EnvBase

from tamiyo_trl.collectors.carry import collector_state, load_collector_state
from tamiyo_trl.collectors.collector import check_frames, with_transforms
from tamiyo_trl.collectors.lean import LeanCollector
from tamiyo_trl.collectors.source import Source
from tamiyo_trl.collectors.streams import Streams
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.policies import ActorCritic

Backend = Literal["inline", "processes"]
EnvMaker = Callable[[], EnvBase]


class WorkerCollector(LeanCollector):
    """A LeanCollector with random streams of its own; its `state_dict` is all that its next batch depends on."""

    def __init__(self, env: EnvBase, actor_critic: ActorCritic, frames: int, seed: int, worker: int) -> None:
        self._streams = Streams(seed, f"worker {worker}")
        with self._streams.active():
            super().__init__(
                with_transforms(env, actor_critic),
                actor_critic.collection_policy(),
                frames_per_batch=frames,
                total_frames=-1,
            )
        self._use_buffers = False  # a MultiSyncCollector asks: every batch is a new tensordict

    def rollout(self) -> TensorDictBase:
        """Return the next batch [*, T]."""
        with self._streams.active():
            return super().rollout()

    def state_dict(self) -> dict[str, Any]:
        """Return the live state as one tensor of bytes, uint8 [N]: the form that survives any transport."""
        content = io.BytesIO()
        torch.save({"place": collector_state(self), "streams": self._streams.state}, content)
        return {"bytes": torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8)}

    def load_state_dict(self, state_dict: dict[str, Any], **kwargs: Any) -> None:
        """Restore what `state_dict` returned.

        Raises:
            CheckpointError: the environment or its transforms are not those of the state.
        """
        content = torch.load(io.BytesIO(state_dict["bytes"].numpy().tobytes()), weights_only=True)
        load_collector_state(self, content["place"])
        self._streams.state = content["streams"]


class InlineWorkers:
    """Workers one after another in this process: what `ProcessWorkers` must equal, and what a test can step through."""

    def __init__(
        self, makers: Sequence[EnvMaker], actor_critic: ActorCritic, frames_per_batch: int, total_frames: int, seed: int
    ) -> None:
        envs = [maker() for maker in makers]
        check_frames(sum(env.batch_size.numel() for env in envs), frames_per_batch, total_frames)
        self.batch_size = torch.Size([len(envs), *envs[0].batch_size])
        share = frames_per_batch // len(makers)
        self._total, self._frames, self._size = total_frames, 0, frames_per_batch
        self._workers = [WorkerCollector(env, actor_critic, share, seed, w) for w, env in enumerate(envs)]

    def __iter__(self) -> Iterator[TensorDictBase]:
        """Yield batches [W, *, T]."""
        while self._frames < self._total:
            self._frames += self._size
            yield torch.stack([worker.rollout() for worker in self._workers])

    def state(self) -> dict[str, Any]:
        """Return where every worker stands between two batches."""
        own = {f"worker{number}": worker.state_dict() for number, worker in enumerate(self._workers)}
        return own | {"frames": self._frames}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        check_workers(state, len(self._workers))
        for number, worker in enumerate(self._workers):
            worker.load_state_dict(state[f"worker{number}"])
        self._frames = state["frames"]

    def shutdown(self) -> None:
        """Let all workers go."""
        for worker in self._workers:
            worker.shutdown()


def check_workers(state: dict[str, Any], workers: int) -> None:
    """Check that a saved state is of so many workers.

    Raises:
        ConfigError: it is of fewer or more.
    """
    found = sum(name.startswith("worker") for name in state)
    if found != workers:
        raise ConfigError(f"the run was started with {found} workers and cannot go on with {workers}")


def make_workers(
    makers: Sequence[EnvMaker],
    actor_critic: ActorCritic,
    frames_per_batch: int,
    total_frames: int,
    *,
    seed: int = 0,
    backend: Backend = "processes",
    timeout: float = 600.0,
) -> Source:
    """Return one worker per maker; together they collect `frames_per_batch` steps a batch.

    Args:
        makers: each makes one worker's environment, all of one batch size; for `processes` they must pickle.
        actor_critic: with `processes` its weights move to shared memory, where workers see every update at once.
        seed: root of every worker's random streams.
        backend: `inline`, one after another in this process, or `processes`, each in one of its own.
        timeout: seconds that a worker process may take for a batch.

    Raises:
        ConfigError: no makers, a batch that cannot be shared out, or an unknown backend.
        WorkerError: a worker process could not be started; later, from the iterator, one that failed.
    """
    if not makers:
        raise ConfigError("workers need at least one environment maker, got none")
    if frames_per_batch % len(makers):
        raise ConfigError(f"frames_per_batch must be a multiple of the workers: {frames_per_batch}, {len(makers)}")
    if backend == "inline":
        return InlineWorkers(makers, actor_critic, frames_per_batch, total_frames, seed)
    if backend == "processes":
        from tamiyo_trl.collectors.processes import ProcessWorkers

        return ProcessWorkers(makers, actor_critic, frames_per_batch, total_frames, seed, timeout)
    raise ConfigError(f"backend must be inline or processes, got {backend!r}")
