"""A run folder: the metrics table, the timings table, the checkpoints and, on request, TensorBoard's events."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchrl.record.loggers import Logger, TensorboardLogger

from tamiyo_trl.errors import ConfigError, RunFolderError
from tamiyo_trl.training.checkpoint import checkpoint_path, list_checkpoints, load_checkpoint, save_checkpoint
from tamiyo_trl.training.folder_lock import FolderLock
from tamiyo_trl.training.table import TableLogger

TIMINGS = "time/"  # metrics with this prefix differ from run to run and have a table of their own


def has_run(directory: str | os.PathLike[str]) -> bool:
    """Return whether `directory` holds a run that can be resumed."""
    return bool(list_checkpoints(Path(directory) / "checkpoints"))


class RunFolder:
    """Where a run writes: `metrics.csv`, `timings.csv`, `checkpoints/` and `tensorboard/`.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep: int = 3, tensorboard: bool = False) -> None:
        """Open `path`, which is created where it is missing; `keep` checkpoints are kept.

        Raises:
            RunFolderError: the folder cannot be made, or another process writes to it.
            ConfigError: TensorBoard is asked for and not installed.
        """
        self.path, self._keep = Path(path), keep
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"cannot make run folder {self.path}: {error.strerror}") from error
        self._lock = FolderLock(self.path)
        self._metrics = TableLogger("metrics", self.path)
        self._timings = TableLogger("timings", self.path)
        self._extra: list[Logger] = []
        if tensorboard:
            check_tensorboard()
            self._extra.append(TensorboardLogger("tensorboard", str(self.path)))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the metrics of update `step`."""
        self._metrics.log_metrics({k: v for k, v in metrics.items() if not k.startswith(TIMINGS)}, step)
        self._timings.log_metrics({k: v for k, v in metrics.items() if k.startswith(TIMINGS)}, step)
        for logger in self._extra:
            logger.log_metrics({name: value for name, value in metrics.items() if math.isfinite(value)}, step)

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Write the checkpoint after update `step`; the tables reach the disk first."""
        tables = {"metrics": self._metrics, "timings": self._timings}
        for table in tables.values():
            table.sync()
        columns = {name: table.columns for name, table in tables.items()}
        path = checkpoint_path(self.path / "checkpoints", step)
        save_checkpoint(path, {"columns": columns, **state}, keep=self._keep)

    def load(self) -> dict[str, Any]:
        """Return the newest checkpoint's state; the folder stays as it is.

        Raises:
            CheckpointError: the newest checkpoint does not load.
        """
        return load_checkpoint(self.path / "checkpoints")

    def trim(self, state: Mapping[str, Any]) -> None:
        """Trim the tables to the checkpoint with this state, from where the run goes on.

        Raises:
            RunFolderError: the tables do not hold what the checkpoint was written after.
        """
        self._metrics.trim(state["updates"], state["columns"]["metrics"])
        self._timings.trim(state["updates"], state["columns"]["timings"])

    def close(self) -> None:
        """Close the loggers and let others write here."""
        for logger in (self._metrics, self._timings, *self._extra):
            logger.close()
        self._lock.close()


def check_tensorboard() -> None:
    """Check that TensorBoard can be written.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            'tensorboard is not installed: pip install "tamiyo-trl[tensorboard]", or leave tensorboard off'
        )
