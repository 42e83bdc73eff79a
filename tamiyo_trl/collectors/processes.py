"""ProcessWorkers: workers in processes of their own, by TorchRL's MultiSyncCollector."""

from __future__ import annotations

import signal
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import multiprocessing as mp
from torchrl.collectors import MultiSyncCollector

from tamiyo_trl.collectors.collector import check_frames
from tamiyo_trl.collectors.workers import EnvMaker, WorkerCollector, check_workers
from tamiyo_trl.errors import ConfigError, WorkerError
from tamiyo_trl.policies import ActorCritic

TRAJECTORIES = ("collector", "traj_ids")  # MultiSyncCollector counts frames by this entry
POLL = 0.2  # seconds between two looks at the workers


class ProcessCollector(WorkerCollector):
    """A WorkerCollector in a worker process: says what it did last, and why it failed."""

    def __init__(self, *args: Any, batches: torch.Tensor, failures: Any) -> None:
        self._worker, self._batches, self._failures = args[-1], batches, failures
        super().__init__(*args)

    def rollout(self) -> TensorDictBase:
        """Return the next batch [*, T], with trajectory numbers for the frames to be counted by."""
        try:
            batch = super().rollout()
        except Exception as error:
            self._failures.put((self._worker, *describe(error)))
            raise
        self._batches[self._worker] += 1
        return batch.set(TRAJECTORIES, torch.zeros(batch.batch_size, dtype=torch.long))


class CollectorMaker:
    """Makes a worker's collector inside its process; MultiSyncCollector takes it for a collector's class.

    It reaches the worker by multiprocessing's own pickler, which keeps the weights in shared memory: an update of the
    learner needs no sending.
    """

    def __init__(self, actor_critic: ActorCritic, seed: int, batches: torch.Tensor, failures: Any) -> None:
        self._actor_critic, self._seed = actor_critic, seed
        self._batches, self._failures = batches, failures

    def __call__(self, maker: EnvMaker, *, frames_per_batch: int, worker_idx: int, **others: Any) -> ProcessCollector:
        """Return the collector of this worker; what else MultiSyncCollector says is its defaults."""
        torch.set_num_threads(1)
        try:
            return ProcessCollector(
                *(maker(), self._actor_critic, frames_per_batch, self._seed, worker_idx),
                batches=self._batches,
                failures=self._failures,
            )
        except Exception as error:
            self._failures.put((worker_idx, *describe(error)))
            raise


class ProcessWorkers:
    """Workers in processes of their own; the same batches as `InlineWorkers`, in parallel.

    Interrupts and SIGTERM never reach a worker: the parent decides. A worker that fails, dies or takes longer than
    `timeout` seconds for a batch ends the others too, and the iterator raises WorkerError.
    """

    def __init__(
        self,
        makers: Sequence[EnvMaker],
        actor_critic: ActorCritic,
        frames_per_batch: int,
        total_frames: int,
        seed: int,
        timeout: float,
    ) -> None:
        if not timeout > 0:
            raise ConfigError(f"timeout must be positive, got {timeout}")
        self._count, self._timeout, self._threads = len(makers), timeout, torch.get_num_threads()
        self._batches = torch.zeros(self._count, dtype=torch.long).share_memory_()
        self._failures = mp.get_context("spawn").SimpleQueue()
        self._hung: list[int] = []
        actor_critic.share_memory()
        with _worded(self), _unreachable_by_signals(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="weight_updater is None")  # weights lie in shared memory
            self._collector = MultiSyncCollector(
                list(makers),
                policy_factory=_no_policy,
                collector_class=CollectorMaker(actor_critic, seed, self._batches, self._failures),
                frames_per_batch=frames_per_batch,
                total_frames=total_frames,
                use_buffers=False,
                cat_results="stack",
                num_threads=self._threads,
                num_sub_threads=1,
                trust_policy=True,
                auto_register_policy_transforms=False,
            )
        self._iterator = iter(self._collector)
        try:
            self.batch_size = torch.Size([self._count, *self._collector.getattr_env("batch_size")])
            check_frames(self.batch_size.numel(), frames_per_batch, total_frames)
        except BaseException:
            self.shutdown()
            raise

    def __iter__(self) -> Iterator[TensorDictBase]:
        """Yield batches [W, *, T].

        Raises:
            WorkerError: a worker failed, died or did not answer in time; all are gone then.
        """
        while True:
            done = threading.Event()
            watch = threading.Thread(target=self._watch, args=(int(self._batches.min()) + 1, done), daemon=True)
            watch.start()
            try:
                with _worded(self):
                    batch = next(self._iterator, None)
            finally:
                done.set()
                watch.join()
            if batch is None:
                return
            yield batch.exclude("collector")

    def _watch(self, wanted: int, done: threading.Event) -> None:
        """Kill the workers that have not made batch number `wanted` in time; the collector notices that they died."""
        started = time.monotonic()
        while not done.wait(POLL):
            if any(process.exitcode is not None for process in self._collector.procs):
                return  # it died by itself, and the collector will say so
            if time.monotonic() - started < self._timeout:
                continue
            self._hung = [number for number, made in enumerate(self._batches.tolist()) if made < wanted]
            for number in self._hung:
                self._collector.procs[number].kill()
            return

    def state(self) -> dict[str, Any]:
        """Return where every worker stands between two batches."""
        with _worded(self):
            state = self._collector.state_dict()
        return {name: dict(value) if name.startswith("worker") else value for name, value in state.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        check_workers(state, self._count)
        with _worded(self):
            self._collector.load_state_dict({"iter": 0} | state)

    def shutdown(self) -> None:
        """Let all workers go; none is left behind."""
        if "_collector" in vars(self):
            self._collector.shutdown()
        torch.set_num_threads(self._threads)

    def explain(self) -> str | None:
        """Return what is known of a worker that failed, None if nothing is."""
        said = []
        while not self._failures.empty():
            worker, name, text, trace = self._failures.get()
            said.append(f"worker {worker} of {self._count} failed: {name}: {text}\n{trace}")
        if self._hung:
            names = " and ".join(f"worker {number}" for number in self._hung)
            said.append(f"{names} of {self._count} took longer than {self._timeout:g} s for a batch")
        if not said and "_collector" in vars(self):
            codes = [process.exitcode for process in self._collector.procs]
            said = [
                f"worker {number} of {self._count} died (exit code {code})" for number, code in enumerate(codes) if code
            ]
        return "; ".join(said[:1]) or None


def describe(error: BaseException) -> tuple[str, str, str]:
    """Return an error's type, text and traceback as plain text."""
    return type(error).__name__, str(error), traceback.format_exc()


@contextmanager
def _worded(workers: ProcessWorkers) -> Iterator[None]:
    """Turn whatever a lost worker makes TorchRL raise into a WorkerError that says which and why; none is left then."""
    before = set(mp.active_children())
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        time.sleep(POLL)  # the other end may still be writing down why
        known = workers.explain()
        workers.shutdown()
        for process in set(mp.active_children()) - before:  # of a collector that was never finished
            process.kill()
            process.join()
        raise WorkerError(known or f"a worker process was lost: {error}") from error


@contextmanager
def _unreachable_by_signals() -> Iterator[None]:
    """Let processes that are started inside never get Ctrl-C or SIGTERM: they inherit what is blocked here."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _no_policy() -> None:
    """Stand for the policy's factory: `CollectorMaker` brings the policy."""
