"""What each plan of planting is worth under each deficit, measured on tuning hosts: the search for the best one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.policies import FixedSchedule, NeverGrow
from tamiyo_trl.policies.baselines import Baseline
from tamiyo_trl.studies.demand.table import Played
from tamiyo_trl.studies.references import Plan, plan_of

NEVER = "never-grow"


def schedule(name: str, config: GrowthConfig) -> Baseline:
    """Return the controller that follows a plan, e.g. "wide@0 norm@2", from the first step on."""
    return NeverGrow() if name == NEVER else FixedSchedule(config, config.episode_steps, plan_of(name, config, step=0))


def single_plans(config: GrowthConfig, kinds: Sequence[str]) -> list[str]:
    """Return never-grow and every plan of one seed of these blueprints.

    Raises:
        ConfigError: a blueprint is not of the catalogue.
    """
    unknown = sorted(set(kinds) - set(config.blueprints))
    if unknown:
        raise ConfigError(f"plans must be made of {', '.join(config.blueprints)}; got {', '.join(unknown)}")
    return [NEVER, *(f"{kind}@{site}" for kind in kinds for site in range(len(config.sites)))]


@dataclass(frozen=True)
class PlanTable:
    """Mean final accuracy of each plan under each deficit, float [P, D].

    Attributes:
        names: Of the plans, P; the first is never-grow.
        values: Fractions.
    """

    names: tuple[str, ...]
    values: np.ndarray

    @classmethod
    def read(cls, rows: Sequence[Played], config: GrowthConfig) -> PlanTable:
        """Return the table of all plans that were played."""
        found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            found[row.controller][row.deficit].append(row.final_accuracy)
        deficits = range(len(make_family(config.family, config.image_size, config.task).deficits))
        # A deficit that no tuning host had says nothing about plans.
        values = [[np.mean(found[name][d]) if found[name][d] else 0.0 for d in deficits] for name in found]
        return cls(tuple(found), np.array(values))

    @property
    def best(self) -> int:
        """The best plan for all, deficits equally likely."""
        return int(self.values.mean(1).argmax())

    def within(self, max_kept: int | None) -> PlanTable:
        """Return the plans that keep no more seeds than that."""
        allowed = [n for n, name in enumerate(self.names) if max_kept is None or len(name.split()) <= max_kept]
        return PlanTable(tuple(self.names[n] for n in allowed), self.values[allowed])

    def pairs(self) -> list[str]:
        """Return the plans of two seeds worth trying: the best single plan of all and of each deficit, combined."""
        good = [self.names[n] for n in dict.fromkeys([self.best, *self.values.argmax(0).tolist()])]
        seeds = [name for name in good if name != NEVER and " " not in name]
        apart = [(a, b) for a in seeds for b in seeds if a.partition("@")[2] != b.partition("@")[2]]
        return [f"{first} {second}" for first, second in apart]

    def plans(self, config: GrowthConfig) -> list[Plan]:
        """Return every plan as plantings; never-grow has none."""
        return [() if name == NEVER else plan_of(name, config, step=0) for name in self.names]


Play = Callable[[str, Baseline], Sequence[Played]]


def search(config: GrowthConfig, kinds: Sequence[str], play: Play) -> PlanTable:
    """Return the values of never-grow, single plans of these blueprints and pairs of the best; `play` measures one."""
    rows = [row for name in single_plans(config, kinds) for row in play(name, schedule(name, config))]
    singles = PlanTable.read(rows, config)
    rows += [row for name in singles.pairs() for row in play(name, schedule(name, config))]
    return PlanTable.read(rows, config)
