"""A tidy table of played episodes that grows controller by controller, so that a stopped study goes on."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tamiyo_trl.errors import RunFolderError
from tamiyo_trl.evaluation.rollout import Episode
from tamiyo_trl.files import write_rows


@dataclass(frozen=True)
class Played:
    """What one controller made of one host (fields as in `Episode`)."""

    controller: str
    host: int
    deficit: int
    final_accuracy: float
    germinated: int
    fossilized: int
    culled: int

    @classmethod
    def of(cls, controller: str, episode: Episode) -> Played:
        """Return the row of an episode."""
        return cls(
            controller,
            episode.seed,
            episode.deficit,
            round(episode.final_accuracy, 6),
            episode.germinated,
            episode.fossilized,
            episode.culled,
        )

    @classmethod
    def parse(cls, row: dict[str, str]) -> Played:
        """Return the row that a line of the file holds."""
        counts = {name: int(row[name]) for name in ("host", "deficit", "germinated", "fossilized", "culled")}
        return cls(controller=row["controller"], final_accuracy=float(row["final_accuracy"]), **counts)


class PlayedTable:
    """Rows in a csv file, all of a controller's at once.

    Raises:
        RunFolderError: the file is no such table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Played] = []
        if path.exists():
            try:
                with path.open(newline="") as file:
                    self.rows = [Played.parse(row) for row in csv.DictReader(file)]
            except (KeyError, TypeError, ValueError) as error:
                raise RunFolderError(f"{path} is no table of played episodes; remove it to play them again") from error

    def of(self, controller: str) -> list[Played]:
        """Return the rows of a controller, in the order of hosts played; none if it was not played yet."""
        return [row for row in self.rows if row.controller == controller]

    def add(self, controller: str, episodes: Sequence[Episode]) -> list[Played]:
        """Write a controller's episodes to the file; return their rows."""
        fresh = [Played.of(controller, episode) for episode in episodes]
        self.rows += fresh
        columns = [item.name for item in dataclasses.fields(Played)]
        write_rows(self.path, [dataclasses.asdict(row) for row in self.rows], columns)
        return fresh
