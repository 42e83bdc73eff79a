"""A study's results as tidy tables, one file per kind: a row per arm, variant, training seed and host, step or update.

    episodes.csv     what a controller made of each held-out host; `exam` says how it met it
    decisions.csv    decisions on seeds, with ground truth
    curves.csv       learning curves, a row per update
    ablations.csv    final accuracy of each host with the hidden state disturbed
    runs.json        settings and facts of each run, its probe and its entropies; what is named here is finished

A run writes its own files while it goes on; once it is finished it is folded into the tables. A controller that does
not learn has no training seed: its rows leave `seed` empty.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tamiyo_trl.files import write_json, write_rows
from tamiyo_trl.training.table import columns_of

Row = dict[str, str]
RUNS = "runs.json"
# Table: the exam of each of a run's files that goes into it. What those files call the host, tables call `host`.
SOURCES: dict[str, dict[str, str]] = {
    "episodes": {"held_out.csv": "held_out", "mode.csv": "mode", "imposed.csv": "imposed"},
    "decisions": {"held_out_decisions.csv": "held_out"},
    "curves": {"curve.csv": ""},
}
HOST = {"episodes": "seed", "decisions": "episode"}
ABLATION_COLUMNS = ("disturbance", "host", "final_accuracy")


class RunKey(NamedTuple):
    """Which run a row belongs to.

    Attributes:
        arm: The controller: memory and observation set, or the name of one that does not learn.
        variant: What else was varied, such as a learner's setting or a world; "" for nothing.
        seed: Training seed; "" for a controller that does not learn.
    """

    arm: str
    variant: str
    seed: str

    @classmethod
    def named(cls, name: str) -> RunKey:
        """Return the key of a run named arm/seed_n or arm/variant/seed_n, or of a controller that does not learn."""
        arm, *variant, seed = name.split("/") if "/" in name else (name, "")
        return cls(arm, "/".join(variant), seed.removeprefix("seed_"))

    @property
    def name(self) -> str:
        """The name it was made of."""
        return "/".join(part for part in (self.arm, self.variant, self.seed and f"seed_{self.seed}") if part)


class Tables:
    """The tables of a folder, each read once.

    Args:
        folder: Where they lie; there need not be any.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, dict[RunKey, list[Row]]] = {}

    @cached_property
    def runs(self) -> dict[RunKey, dict[str, Any]]:
        """What is known of every finished run, in the order they were folded."""
        path = self.folder / RUNS
        return {RunKey.named(name): known for name, known in _json(path).items()} if path.exists() else {}

    def rows(self, table: str, key: RunKey, exam: str = "") -> list[Row]:
        """Return a run's rows of a table, without the columns that say whose they are; `exam` chooses among them."""
        if table not in self._read:
            self._read[table] = _by_run(self.folder / f"{table}.csv")
        rows = self._read[table].get(key, [])
        return [row for row in rows if row.get("exam", "") == exam] if exam else rows

    def curve(self, key: RunKey) -> dict[str, np.ndarray]:
        """Return a run's learning curve, float64 [updates] of every column that it has."""
        rows = self.rows("curves", key)
        named = [name for name in rows[0] if any(row[name] for row in rows)]
        return columns_of([{name: row[name] for name in named} for row in rows])

    def fold(self, finished: Mapping[str, Path]) -> None:
        """Add finished runs, by name, from the folders of their files; runs that are here already stay as they are.

        Rows of a run that `runs.json` does not name, left by a process killed in between, are dropped. Studies that
        share a folder wait for each other.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._forget()  # another study may have folded runs meanwhile
            new = {RunKey.named(name): folder for name, folder in finished.items()}
            self._add({key: folder for key, folder in new.items() if key not in self.runs})
        finally:
            os.close(lock)

    def _add(self, new: Mapping[RunKey, Path]) -> None:
        if not new:
            return
        for table in (*SOURCES, "ablations"):
            kept = [{**key._asdict(), **row} for key in self.runs for row in self.rows(table, key)]
            fresh = [{**key._asdict(), **row} for key, folder in new.items() for row in _run_rows(table, folder)]
            rows = kept + fresh
            columns = list(dict.fromkeys(name for row in rows for name in row))
            if rows:
                write_rows(self.folder / f"{table}.csv", rows, columns)
        known = self.runs | {key: _facts(folder) for key, folder in new.items()}
        write_json(self.folder / RUNS, {key.name: facts for key, facts in known.items()})
        self._forget()

    def _forget(self) -> None:
        self._read.clear()
        self.__dict__.pop("runs", None)


def reference_key(name: str) -> RunKey:
    """Return the key of a controller that does not learn."""
    return RunKey(name.replace(" ", "-"), "", "")


def fold_references(tables: Tables, folder: Path) -> None:
    """Add the controllers that do not learn, whose logs <name>.csv and <name>-decisions.csv lie in `folder`."""
    names = [path.stem for path in sorted(folder.glob("*.csv")) if not path.stem.endswith("-decisions")]
    tables.fold({name: folder / f"{name}.csv" for name in names})


def _by_run(path: Path) -> dict[RunKey, list[Row]]:
    found: dict[RunKey, list[Row]] = {}
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                key = RunKey(*(row.pop(name) for name in RunKey._fields))
                found.setdefault(key, []).append(row)
    return found


def _run_rows(table: str, folder: Path) -> list[dict[str, Any]]:
    """Return the rows that a run's files give to a table."""
    if folder.suffix == ".csv":  # the log of a controller that does not learn
        sources = {"episodes": folder, "decisions": folder.with_name(f"{folder.stem}-decisions.csv")}
        paths = {sources[table]: "held_out"} if table in sources else {}
    elif table == "ablations":
        path = folder / "ablation.json"
        found = _json(path) if path.exists() else {}
        every = [(name, host, value) for name, hosts in found.items() for host, value in hosts.items()]
        return [dict(zip(ABLATION_COLUMNS, values, strict=True)) for values in every]
    else:
        paths = {folder / name: exam for name, exam in SOURCES[table].items()}
    return [row for path, exam in paths.items() if path.exists() for row in _read(path, table, exam)]


def _read(path: Path, table: str, exam: str) -> list[Row]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    named = [{"host" if name == HOST.get(table) else name: value for name, value in row.items()} for row in rows]
    return [{"exam": exam, **row} for row in named] if exam else named


def _facts(folder: Path) -> dict[str, Any]:
    """Return what is known of a run besides its rows."""
    if folder.suffix == ".csv":
        return {}
    facts = {name: value for file in ("run", "training") for name, value in _json(folder / f"{file}.json").items()}
    parts = {name: folder / f"{name}.json" for name in ("probe", "entropy")}
    return facts | {name: _json(path) for name, path in parts.items() if path.exists()}


def rows_as_written(table: str, rows: Sequence[Row]) -> list[Row]:
    """Return rows with the columns that a run's own file has."""
    return [
        {HOST[table] if name == "host" else name: value for name, value in row.items() if name != "exam"}
        for row in rows
    ]


def _json(path: Path) -> Any:
    return json.loads(path.read_text())
