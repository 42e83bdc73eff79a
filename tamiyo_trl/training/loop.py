"""train: collect, update, report; resumable at any update."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensordict import TensorDictBase
from torchrl.envs import EnvBase

from tamiyo_trl import keys
from tamiyo_trl.collectors.collector import check_frames
from tamiyo_trl.collectors.source import OwnEnvironment, Source
from tamiyo_trl.collectors.streams import Streams
from tamiyo_trl.collectors.workers import Backend, EnvMaker, make_workers
from tamiyo_trl.errors import CheckpointError, ConfigError, RunFolderError
from tamiyo_trl.objectives import PPOLearner
from tamiyo_trl.objectives.slices import Slices
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.training.interrupt import deferred_interrupt
from tamiyo_trl.training.run_folder import RunFolder, check_tensorboard, has_run

Summary = Callable[[TensorDictBase], dict[str, float]]


@dataclass(frozen=True)
class TrainConfig:
    """How long to train and what to keep.

    Attributes:
        total_frames: environment steps of all environments together; whole batches.
        frames_per_batch: steps per update; the same number for every environment.
        checkpoint_every: updates between checkpoints.
        keep_checkpoints: newest checkpoints kept.
        tensorboard: whether metrics are also written for TensorBoard.
        seed: root of the run's random streams (the sampling of actions; whatever an environment draws globally).
    """

    total_frames: int = 100_000
    frames_per_batch: int = 400
    checkpoint_every: int = 10
    keep_checkpoints: int = 3
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("total_frames", "frames_per_batch", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1: {getattr(self, name)}")
        if self.total_frames % self.frames_per_batch:
            raise ConfigError(
                f"total_frames must be a multiple of frames_per_batch: {self.total_frames} is not of "
                f"{self.frames_per_batch}"
            )


def train(
    env: EnvBase | Sequence[EnvMaker],
    actor_critic: ActorCritic,
    learner: PPOLearner,
    config: TrainConfig,
    *,
    directory: str | os.PathLike[str] | None = None,
    resume: bool = False,
    summaries: Sequence[Summary] = (),
    backend: Backend = "processes",
) -> Generator[dict[str, float], None, None]:
    """Return an iterator that trains: each step collects a batch, updates, and yields the update's flat metrics.

    Metrics are the learner's, "train/frames", "train/updates", "episode/return" (mean over the episodes that ended in
    the batch, NaN where none did), "episode/count", "time/..." and those of `summaries`, functions of the batch.

    With a `directory` they are also written to `metrics.csv` ("time/..." to `timings.csv`) and checkpoints are kept:
    the last one at the end of training, when the iterator is closed, and on Ctrl-C or SIGTERM, which wait for the
    update to end.

    `env` is an environment, or a list of functions that each make one (`growth_env_makers`): then one worker per
    function collects its share of every batch, by `backend` "processes" or, with the same numbers, "inline". The
    numbers depend on how many workers there are.

    With `resume`, `env`, `actor_critic` and `learner` are made as for a new run and continue from the newest
    checkpoint. The numbers are those of an uninterrupted run where the environment's `state_dict` holds its live state.

    Raises:
        ConfigError: settings that do not fit the environment or each other.
        RunFolderError: the folder holds a run and `resume` is off, holds none and it is on, or one of other settings.
        CheckpointError: the newest checkpoint does not load, or is of another policy or environment.
        WorkerError: a worker failed; what was saved before can be resumed.
    """
    if isinstance(env, EnvBase):
        _check_sizes(env.batch_size.numel(), config, learner)
    if config.tensorboard:
        check_tensorboard()
    if learner.actor_critic is not actor_critic:
        raise ConfigError("the learner trains another actor-critic than the one given to train")
    if directory is None:
        if resume or config.tensorboard:
            raise ConfigError(f"{'resume' if resume else 'tensorboard'} needs a directory")
    elif has_run(directory) != resume:
        wrong = "holds no run to resume" if resume else "already holds a run: resume it or choose another folder"
        raise RunFolderError(f"{directory} {wrong}")
    elif not resume and (Path(directory) / "metrics.csv").exists():
        raise RunFolderError(f"{directory} holds a metrics.csv without a checkpoint: choose another folder")

    def make_source() -> Source:
        if isinstance(env, EnvBase):
            return OwnEnvironment(env, actor_critic, config.frames_per_batch, config.total_frames)
        sizes = config.frames_per_batch, config.total_frames
        return make_workers(env, actor_critic, *sizes, seed=config.seed, backend=backend)

    return _Run(make_source, learner, config, summaries).go(directory, resume)


def _check_sizes(envs: int, config: TrainConfig, learner: PPOLearner) -> None:
    """Check that so many environments can fill batches that the learner can cut."""
    check_frames(envs, config.frames_per_batch, config.total_frames)
    Slices.check(envs, config.frames_per_batch // envs, learner.config.slice_len, learner.config.minibatches)


class _Run:
    """One training run: its parts, its counters and its state."""

    def __init__(
        self,
        make_source: Callable[[], Source],
        learner: PPOLearner,
        config: TrainConfig,
        summaries: Sequence[Summary],
    ) -> None:
        self._make_source, self._learner = make_source, learner
        self._config, self._summaries = config, summaries
        self._updates = self._frames = 0
        self._saved_at: int | None = None
        self._streams = Streams(config.seed)

    def go(self, directory: str | os.PathLike[str] | None, resume: bool) -> Generator[dict[str, float], None, None]:
        config = self._config
        with contextlib.ExitStack() as stack:
            with self._streams.active():
                source = self._make_source()
            stack.callback(source.shutdown)
            _check_sizes(source.batch_size.numel(), config, self._learner)
            folder = None
            if directory is not None:
                folder = RunFolder(directory, keep=config.keep_checkpoints, tensorboard=config.tensorboard)
                stack.callback(folder.close)
                if resume:
                    saved = folder.load()
                    self._restore(saved, source)
                    folder.trim(saved)  # only now: a resume that is refused leaves the folder as it was
                else:
                    self._save(folder, source)
            batches = iter(source)
            while self._frames < config.total_frames:
                with deferred_interrupt() as interrupt:
                    with self._streams.active():
                        metrics = self._advance(batches)
                    if folder is not None:
                        folder.log(metrics, self._updates)
                        if self._updates % config.checkpoint_every == 0:
                            self._save(folder, source)
                try:
                    if interrupt.pending:
                        raise KeyboardInterrupt
                    yield metrics
                except (GeneratorExit, KeyboardInterrupt):
                    self._save(folder, source)
                    raise
            self._save(folder, source)

    def _advance(self, batches: Any) -> dict[str, float]:
        started = time.perf_counter()
        batch = next(batches)
        collected = time.perf_counter()
        metrics = self._learner.update(batch)
        updated = time.perf_counter()
        self._updates += 1
        self._frames += batch.numel()
        metrics |= {"train/frames": float(self._frames), "train/updates": float(self._updates), **_episodes(batch)}
        for summary in self._summaries:
            metrics |= summary(batch)
        return metrics | {
            "time/collect": collected - started,
            "time/update": updated - collected,
            "time/frames_per_second": batch.numel() / (updated - started),
        }

    def _save(self, folder: RunFolder | None, source: Source) -> None:
        if folder is None or self._saved_at == self._updates:
            return
        folder.save(
            {
                "settings": self._settings(source),
                "updates": self._updates,
                "frames": self._frames,
                "learner": self._learner.state_dict(),
                "collector": source.state(),
                "random": self._streams.state,
            },
            self._updates,
        )
        self._saved_at = self._updates

    def _restore(self, state: dict[str, Any], source: Source) -> None:
        saved, present = state["settings"], self._settings(source)
        for name in present:
            if saved.get(name) != present[name]:
                raise RunFolderError(f"the run was started with {name} = {saved.get(name)}, not {present[name]}")
        try:
            self._learner.load_state_dict(state["learner"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"the checkpoint is of another policy: {error}") from error
        source.load_state(state["collector"])
        self._streams.state = state["random"]
        self._updates = self._saved_at = state["updates"]
        self._frames = state["frames"]

    def _settings(self, source: Source) -> dict[str, str]:
        """Return the settings a resumed run must share, as text; the length of a run may change."""
        return self._learner.settings() | {
            "frames_per_batch": repr(self._config.frames_per_batch),
            "batch_size": repr(list(source.batch_size)),
            "interface": self._learner.actor_critic.networks.interface.form,
        }


def _episodes(batch: TensorDictBase) -> dict[str, float]:
    """Return number and mean return of the episodes that ended in `batch`."""
    done = batch["next", keys.DONE]
    count = int(done.sum())
    total = float(batch["next", keys.EPISODE_REWARD][done].sum())
    return {"episode/return": total / count if count else math.nan, "episode/count": float(count)}
