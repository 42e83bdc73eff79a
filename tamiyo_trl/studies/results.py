"""What a study of trained controllers left in its folder, read back: the one thing that its report is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation.episode_log import read_log
from tamiyo_trl.evaluation.rollout import Episode
from tamiyo_trl.studies.examination import EXAM_STAGES
from tamiyo_trl.studies.measures.forks import Decision
from tamiyo_trl.studies.measures.imposed import Judgement, judgements
from tamiyo_trl.studies.measures.learning import WINDOW, Curve, gain_curve
from tamiyo_trl.studies.measures.precision import read_decisions
from tamiyo_trl.studies.references import log_path, never_by_deficit
from tamiyo_trl.studies.run import CURVE
from tamiyo_trl.training.table import read_metrics


@dataclass(frozen=True)
class Finished:
    """One finished run.

    Attributes:
        seed: Its training seed.
        folder: Where its files lie.
        study: The study it belongs to.
    """

    seed: int
    folder: Path
    study: Study

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Command, versions, plan, length and duration of the training."""
        return {
            name: value for file in ("run", "training") for name, value in _json(self.folder / f"{file}.json").items()
        }

    @cached_property
    def held_out(self) -> list[Episode]:
        """What the controller made of the held-out hosts by sampled actions."""
        return read_log(self.folder / "held_out.csv", self.study.config)

    @cached_property
    def by_mode(self) -> list[Episode]:
        """What its mode, the most probable action at every step, made of them."""
        return read_log(self.folder / "mode.csv", self.study.config)

    @cached_property
    def decisions(self) -> list[Decision]:
        """Its decisions there, with ground truth."""
        return read_decisions(self.folder / "held_out_decisions.csv")

    @cached_property
    def judged(self) -> list[Judgement]:
        """What it did about the imposed seeds."""
        return judgements(read_log(self.folder / "imposed.csv", self.study.config), self.study.imposed_truth)

    @cached_property
    def curve(self) -> Curve:
        """Its gain over never-grow along the training."""
        table = read_metrics(self.folder / CURVE)
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
        found = _json(self.folder / "ablation.json")
        return {
            name: float(np.mean([accuracy - untouched[int(host)] for host, accuracy in hosts.items()]))
            for name, hosts in found.items()
        }

    @cached_property
    def probe(self) -> dict[str, Any]:
        """How well the deficit can be read from its memory's output and from the observation, by step."""
        return _json(self.folder / "probe.json")

    @cached_property
    def entropy(self) -> np.ndarray:
        """Mean joint entropy of its policy at each step of an episode, nats [T]."""
        return np.sum(list(_json(self.folder / "entropy.json").values()), axis=0)


@dataclass(frozen=True)
class Study:
    """A folder of runs, <arm>/seed_<n>/, with `references` beside them.

    Attributes:
        folder: The folder.
        config: What was simulated, observation aside.
    """

    folder: Path
    config: GrowthConfig

    def reference(self, name: str) -> list[Episode]:
        """Return the episodes of a controller that does not learn."""
        if name not in self._read:
            self._read[name] = read_log(log_path(self.folder / "references", name), self.config)
        return self._read[name]

    @cached_property
    def _read(self) -> dict[str, list[Episode]]:
        return {}

    @cached_property
    def imposed_truth(self) -> list[Decision]:
        """What every imposed seed is worth."""
        return read_decisions(self.folder / "references" / "imposed-decisions.csv")

    @cached_property
    def random_decisions(self) -> list[Decision]:
        """Decisions of random-legal, with ground truth."""
        return read_decisions(self.folder / "references" / "random-legal-decisions.csv")

    def accuracy(self, name: str) -> float:
        """Return a reference's mean final test accuracy on the held-out hosts."""
        return float(np.mean([episode.final_accuracy for episode in self.reference(name)]))

    @cached_property
    def arms(self) -> dict[str, list[Finished]]:
        """The finished runs of every arm, by seed; arms without any are left out."""
        found: dict[str, list[Finished]] = {}
        for path in sorted(self.folder.glob("*/seed_*")):
            if all((path / name).exists() for name in (CURVE, "training.json", *EXAM_STAGES)):
                found.setdefault(path.parent.name, []).append(Finished(int(path.name.split("_")[1]), path, self))
        return {arm: sorted(runs, key=lambda run: run.seed) for arm, runs in found.items()}

    def pairs(self, first: str, second: str) -> list[tuple[Finished, Finished]]:
        """Return the runs of two arms that share their training seed."""
        others = {run.seed: run for run in self.arms.get(second, [])}
        return [(run, others[run.seed]) for run in self.arms.get(first, []) if run.seed in others]

    def values(self, first: str, second: str, measure: Callable[[Finished], float]) -> tuple[list[float], list[float]]:
        """Return a measure of both arms' runs, paired by training seed."""
        pairs = self.pairs(first, second)
        return [measure(one) for one, _ in pairs], [measure(other) for _, other in pairs]


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


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
