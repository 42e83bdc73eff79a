"""TableLogger: a TorchRL logger that keeps one table, a row per step, in one CSV file."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchrl.record.loggers import Logger

from tamiyo_trl.errors import RunFolderError

STEP = "step"


class TableLogger(Logger):
    """Appends one row per call of `log_metrics` to `<log_dir>/<exp_name>.csv`; the first column is the step.

    Numbers are written so that reading them back gives the same float; a metric without a value in a row is an empty
    field. A metric that first appears later adds a column, and the file is rewritten once.
    """

    def __init__(self, exp_name: str, log_dir: str | os.PathLike[str]) -> None:
        self._columns: list[str] = [STEP]
        super().__init__(exp_name=exp_name, log_dir=str(log_dir))

    def _create_experiment(self) -> Path:
        path = Path(self.log_dir) / f"{self.exp_name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._columns, _ = _read(path)
        return path

    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None = None, *, keys_sep: str = "/"
    ) -> dict[str, float]:
        """Append the row of `step`.

        Raises:
            ValueError: no step.
        """
        if step is None:
            raise ValueError("a row of the table needs its step")
        new = [name for name in metrics if name not in self._columns]
        if new or not self.experiment.exists():
            rows = _read(self.experiment)[1] if self.experiment.exists() else []
            self._columns += new
            self._rewrite(rows)
        with self.experiment.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(self._fields({STEP: step, **metrics}))
        return dict(metrics)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self._columns)

    def trim(self, last_step: int, columns: Sequence[str]) -> None:
        """Drop every row after `last_step`, every column but `columns`, and the torn line a killed process may leave.

        Raises:
            RunFolderError: the table does not hold the row of `last_step`.
        """
        rows = _read(self.experiment)[1] if self.experiment.exists() else []
        kept = [row for row in rows if int(row[STEP]) <= last_step]
        if last_step > 0 and (not kept or int(kept[-1][STEP]) != last_step):
            raise RunFolderError(f"{self.experiment} lacks the row of step {last_step}, where the checkpoint resumes")
        self._columns = list(columns)
        self._rewrite(kept)

    def sync(self) -> None:
        """Force the table onto the disk."""
        if self.experiment.exists():
            with self.experiment.open("a", encoding="utf-8") as file:
                os.fsync(file.fileno())

    def _fields(self, row: Mapping[str, Any]) -> list[str]:
        return [_written(row.get(name, "")) for name in self._columns]

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        temporary = self.experiment.with_name(f".{self.experiment.name}.tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self._columns)
            writer.writerows(self._fields(row) for row in rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.experiment)

    def log_scalar(self, name: str, value: float, step: int | None = None) -> None:
        """Append a row that holds `value` alone."""
        self.log_metrics({name: value}, step=step)

    def log_hparams(self, cfg: Mapping[str, Any]) -> None:
        """Keep nothing: settings are not numbers of a step."""

    def log_video(self, name: str, video: torch.Tensor, step: int | None = None, **kwargs: Any) -> None:
        """Refuse.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a table holds numbers, not videos")

    def log_histogram(self, name: str, data: Sequence[float], **kwargs: Any) -> None:
        """Refuse.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a table holds numbers, not histograms")

    def __repr__(self) -> str:
        return f"TableLogger({str(self.experiment)!r}, columns={len(self._columns)})"


def _written(value: Any) -> str:
    return "" if value is None or value != value else repr(value) if isinstance(value, float) else str(value)


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return columns and whole rows of the table; a last line without its end is torn and left out."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    reader = csv.DictReader(lines)
    columns = list(reader.fieldnames or [STEP])
    return columns, [row for row in reader if len(row) == len(columns) and None not in row.values()]


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a metrics table, float64 [updates] each; an empty field is NaN."""
    with path.open(newline="") as file:
        return columns_of(list(csv.DictReader(file)))


def columns_of(rows: Sequence[Mapping[str, str]]) -> dict[str, np.ndarray]:
    """Return a table's columns, float64 [rows] each, given its lines as column: text; an empty field is NaN."""
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
