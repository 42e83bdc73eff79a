"""What a study of trained controllers left in its folder, read back: the one thing that its report is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation.episode_log import read_episode
from tamiyo_trl.evaluation.rollout import Episode
from tamiyo_trl.studies.measures.forks import Decision
from tamiyo_trl.studies.measures.imposed import Judgement, judgements
from tamiyo_trl.studies.measures.learning import WINDOW, Curve, gain_curve
from tamiyo_trl.studies.measures.precision import decisions_of
from tamiyo_trl.studies.references import never_by_deficit
from tamiyo_trl.studies.tables import RunKey, Tables, reference_key, rows_as_written


@dataclass(frozen=True)
class Finished:
    """One finished run.

    Attributes:
        seed: Its training seed.
        key: Whose rows are its rows.
        study: The study it belongs to.
    """

    seed: int
    key: RunKey
    study: Study

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Command, versions, plan, length and duration of the training."""
        return self.study.tables.runs[self.key]

    @cached_property
    def held_out(self) -> list[Episode]:
        """What the controller made of the held-out hosts by sampled actions."""
        return self.study.episodes(self.key, "held_out")

    @cached_property
    def by_mode(self) -> list[Episode]:
        """What its mode, the most probable action at every step, made of them."""
        return self.study.episodes(self.key, "mode")

    @cached_property
    def decisions(self) -> list[Decision]:
        """Its decisions there, with ground truth."""
        return self.study.decisions(self.key)

    @cached_property
    def judged(self) -> list[Judgement]:
        """What it did about the imposed seeds."""
        return judgements(self.study.episodes(self.key, "imposed"), self.study.imposed_truth)

    @cached_property
    def curve(self) -> Curve:
        """Its gain over never-grow along the training."""
        table = self.study.tables.curve(self.key)
        window = max(1, min(WINDOW, len(table["episodes"]) // 4))
        while True:
            try:
                return gain_curve(table, never_by_deficit(self.study.reference("never-grow")), window)
            except ConfigError:
                if window >= len(table["episodes"]):
                    raise
                window += 1  # a window must hold every deficit

    @property
    def accuracy(self) -> float:
        """Mean final test accuracy on the held-out hosts."""
        return float(np.mean([episode.final_accuracy for episode in self.held_out]))

    @property
    def mode_accuracy(self) -> float:
        """The same by its mode."""
        return float(np.mean([episode.final_accuracy for episode in self.by_mode]))

    @cached_property
    def ablations(self) -> dict[str, float]:
        """Mean change of final accuracy by each disturbance of the hidden state, paired by host."""
        untouched = {episode.seed: episode.final_accuracy for episode in self.held_out}
        changes: dict[str, list[float]] = {}
        for row in self.study.tables.rows("ablations", self.key):
            change = float(row["final_accuracy"]) - untouched[int(row["host"])]
            changes.setdefault(row["disturbance"], []).append(change)
        return {name: float(np.mean(each)) for name, each in changes.items()}

    @property
    def probe(self) -> dict[str, Any]:
        """How well the deficit can be read from its memory's output and from the observation, by step."""
        return dict(self.facts["probe"])

    @cached_property
    def entropy(self) -> np.ndarray:
        """Mean joint entropy of its policy at each step of an episode, nats [T]."""
        return np.sum(list(self.facts["entropy"].values()), axis=0)


@dataclass(frozen=True)
class Study:
    """A folder of tables: finished runs, and the controllers that do not learn.

    Attributes:
        folder: The folder.
        config: What was simulated, observation aside.
    """

    folder: Path
    config: GrowthConfig

    def reference(self, name: str) -> list[Episode]:
        """Return the episodes of a controller that does not learn."""
        if name not in self._read:
            self._read[name] = self.episodes(reference_key(name), "held_out")
        return self._read[name]

    @cached_property
    def tables(self) -> Tables:
        """Its tables."""
        return Tables(self.folder)

    def episodes(self, key: RunKey, exam: str) -> list[Episode]:
        """Return what a controller made of the held-out hosts in one way of meeting them."""
        rows = rows_as_written("episodes", self.tables.rows("episodes", key, exam))
        return [read_episode(row, self.config) for row in rows]

    def decisions(self, key: RunKey) -> list[Decision]:
        """Return a controller's decisions, with ground truth."""
        return decisions_of(rows_as_written("decisions", self.tables.rows("decisions", key)))

    @cached_property
    def _read(self) -> dict[str, list[Episode]]:
        return {}

    @cached_property
    def imposed_truth(self) -> list[Decision]:
        """What every imposed seed is worth."""
        return self.decisions(reference_key("imposed"))

    @cached_property
    def random_decisions(self) -> list[Decision]:
        """Decisions of random-legal, with ground truth."""
        return self.decisions(reference_key("random-legal"))

    def accuracy(self, name: str) -> float:
        """Return a reference's mean final test accuracy on the held-out hosts."""
        return float(np.mean([episode.final_accuracy for episode in self.reference(name)]))

    @cached_property
    def arms(self) -> dict[str, list[Finished]]:
        """The finished runs of every arm, by seed; arms without any are left out."""
        found: dict[str, list[Finished]] = {}
        for key in sorted(key for key in self.tables.runs if key.seed):
            found.setdefault(key.arm, []).append(Finished(int(key.seed), key, self))
        return {arm: sorted(runs, key=lambda run: run.seed) for arm, runs in found.items()}

    def pairs(self, first: str, second: str) -> list[tuple[Finished, Finished]]:
        """Return the runs of two arms that share their training seed."""
        others = {run.seed: run for run in self.arms.get(second, [])}
        return [(run, others[run.seed]) for run in self.arms.get(first, []) if run.seed in others]

    def values(self, first: str, second: str, measure: Callable[[Finished], float]) -> tuple[list[float], list[float]]:
        """Return a measure of both arms' runs, paired by training seed."""
        pairs = self.pairs(first, second)
        return [measure(one) for one, _ in pairs], [measure(other) for _, other in pairs]


def check_paired(study: Study) -> None:
    """Check that every controller met the same held-out hosts.

    Raises:
        ConfigError: a run's hosts are others; its name is in the message.
    """
    hosts = [episode.seed for episode in study.reference("never-grow")]
    for arm, runs in study.arms.items():
        for run in runs:
            if not _same(hosts, [episode.seed for episode in run.held_out]):
                raise ConfigError(f"{arm}/seed_{run.seed} was examined on other hosts than never-grow")


def _same(first: Sequence[int], second: Sequence[int]) -> bool:
    return list(first) == list(second)
