"""The file of a map of effects, effects.csv: a row per deficit, choice and host."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from tamiyo_trl.errors import RunFolderError
from tamiyo_trl.files import write_rows

FILE = "effects.csv"
COLUMNS = ("host_seed", "final_accuracy", "added_parameters", "dead_share", "lr_scale", "host_parameters")
WHOLE = ("host_seed", "added_parameters", "host_parameters")

# Measured columns of equal length, host by host, for each (deficit, choice).
Measured = dict[tuple[str, str], dict[str, list[Any]]]


def nothing() -> dict[str, list[Any]]:
    """Return the columns of a choice that was met by no host yet."""
    return {name: [] for name in COLUMNS}


def read_measured(folder: Path) -> Measured:
    """Return what was measured, in the file's order; nothing where there is no file.

    Raises:
        RunFolderError: the file is no map; its name is in the message.
    """
    path, found = folder / FILE, Measured()
    if not path.exists():
        return found
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                columns = found.setdefault((row["deficit"], row["choice"]), nothing())
                for name in COLUMNS:
                    columns[name].append(int(row[name]) if name in WHOLE else float(row[name]))
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path} is no results file of a map; remove it to measure it again") from error
    return found


def write_measured(folder: Path, measured: Measured) -> None:
    """Write all that was measured; the file appears whole or not at all."""
    rows = [
        {"deficit": deficit, "choice": choice, **dict(zip(COLUMNS, values, strict=True))}
        for (deficit, choice), columns in measured.items()
        for values in zip(*(columns[name] for name in COLUMNS), strict=True)
    ]
    write_rows(folder / FILE, rows, ("deficit", "choice", *COLUMNS))
