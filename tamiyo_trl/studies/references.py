"""Controllers that do not learn, on the hosts that trained controllers are examined on: what they are compared with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation.episode_log import read_log, write_log
from tamiyo_trl.evaluation.rollout import Episode, rollout_episodes
from tamiyo_trl.files import write_rows
from tamiyo_trl.policies.baselines import Baseline, FixedSchedule, Heuristic, NeverGrow, Planting, RandomLegal
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.effects.file import read_measured
from tamiyo_trl.studies.effects.map import NEVER, Effects
from tamiyo_trl.studies.examination import DECISION_COLUMNS
from tamiyo_trl.studies.measures.forks import GroundTruth
from tamiyo_trl.studies.measures.imposed import CullAtOnce, ImposedSeed
from tamiyo_trl.studies.run import Exam

PLANT_AT = 3  # the step at which the map of effects plants

Plan = tuple[Planting, ...]


class Oracle(Baseline):
    """Knows the hidden deficit and makes the choice that the map of effects found best for it.

    Args:
        config: What is played.
        plans: A schedule for each deficit of the family, by number; an empty one plants nothing.
    """

    def __init__(self, config: GrowthConfig, plans: Sequence[Plan]) -> None:
        super().__init__()
        self.in_keys = [*self.in_keys, keys.INFO]
        self._schedules = [FixedSchedule(config, config.episode_steps, plan) if plan else NeverGrow() for plan in plans]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write each host's action by the schedule of its deficit."""
        deficit = tensordict[keys.INFO, "deficit"].flatten().long()
        observation, mask = tensordict[keys.OBSERVATION], tensordict[keys.ACTION_MASK]
        each: Tensor = torch.stack([schedule.choose(observation, mask) for schedule in self._schedules])
        return tensordict.set(keys.ACTION, each[deficit, torch.arange(len(deficit))])


def best_plans(effects: Effects, config: GrowthConfig) -> list[Plan]:
    """Return the best choice of each deficit of the family by a map of effects, as a schedule (empty for never-grow).

    Raises:
        ConfigError: the map lacks a deficit of the family.
    """
    plans: list[Plan] = []
    for deficit in make_family(config.family, config.image_size, config.task).deficits:
        if deficit.name not in effects.deficits:
            raise ConfigError(f"the map of effects lacks {deficit.name!r}; it has {', '.join(effects.deficits)}")
        arm = effects.arms[effects.best[effects.deficits.index(deficit.name)]]
        plans.append(() if arm == NEVER else plan_of(f"{arm}", config))
    return plans


def plan_of(choices: str, config: GrowthConfig, step: int = PLANT_AT) -> Plan:
    """Return the schedule that plants these choices one after another from `step` on, e.g. "wide@0 norm@2".

    Raises:
        ConfigError: a choice is not blueprint@site of the configuration.
    """
    plan = []
    for choice in choices.split():
        kind, _, site = choice.partition("@")
        if kind not in config.blueprints or site not in [str(number) for number in range(len(config.sites))]:
            raise ConfigError(f"a choice must be blueprint@site of {config.blueprints} and {config.sites}: {choice!r}")
        plan.append(Planting(step, int(site), config.blueprints.index(kind)))
    return tuple(plan)


def make_reference(
    name: str, config: GrowthConfig, seed: int, plans: Mapping[str, Sequence[Plan]]
) -> TensorDictModuleBase:
    """Return the controller of this name; `plans` holds the schedules of "fixed schedule" (one) and "oracle".

    Raises:
        ConfigError: the name is unknown.
    """
    makers: dict[str, Callable[[], TensorDictModuleBase]] = {
        "never-grow": NeverGrow,
        "random-legal": lambda: RandomLegal(seed),
        "heuristic": lambda: Heuristic(config),
        "fixed schedule": lambda: FixedSchedule(config, config.episode_steps, plans["fixed schedule"][0]),
        "oracle": lambda: Oracle(config, plans["oracle"]),
    }
    if name not in makers:
        raise ConfigError(f"a reference must be one of {', '.join(makers)}; got {name!r}")
    return makers[name]()


def watching(config: GrowthConfig) -> GrowthConfig:
    """Return the configuration with the observation that baselines read; hosts and rewards stay the same."""
    return dataclasses.replace(config, observation="snapshot")


def load_effects(folder: Path) -> Effects:
    """Return the map of effects that lies in a folder (see recipes/map_effects.py), net of the rent it was made with.

    Raises:
        ConfigError: there is no map.
    """
    settings = folder / "settings.json"
    if not settings.exists():
        raise ConfigError(f"{folder} holds no map of effects: python recipes/map_effects.py")
    known = json.loads(settings.read_text())
    rent, deficits = known["env"]["rewards"]["rent"], [item["name"] for item in known["family"]["deficits"]]
    measured = read_measured(folder)
    arms = [NEVER, *sorted(arm for deficit, arm in measured if deficit == deficits[0] and arm != NEVER)]
    net = []
    for deficit in deficits:
        row = []
        for arm in arms:
            found = measured[deficit, arm]
            added, host = np.array(found["added_parameters"]), np.array(found["host_parameters"])
            row.append(np.array(found["final_accuracy"]) - rent * np.log1p(added / host))
        net.append(row)
    hosts = min(len(values) for row in net for values in row)
    return Effects(tuple(deficits), tuple(arms), np.array([[values[:hosts] for values in row] for row in net]))


def log_path(folder: Path, name: str) -> Path:
    """Return the log of this controller."""
    return folder / f"{name.replace(' ', '-')}.csv"


def play_reference(
    name: str,
    policy: TensorDictModuleBase,
    config: GrowthConfig,
    exam: Exam,
    folder: Path,
    check: Callable[[], None] = lambda: None,
    judged: Sequence[Op] = (),
) -> list[Episode]:
    """Return what this controller makes of the exam's hosts, kept in `folder`; what is kept is not played again.

    The `judged` decisions are measured against ground truth and kept beside it.
    """
    path = log_path(folder, name)
    if path.exists():
        return read_log(path, config)
    env = GrowthEnv(watching(config), exam.n_envs, exam.seed)
    truth = GroundTruth(env, judged)

    def watch(tensordict: TensorDictBase) -> None:
        check()
        truth(tensordict)

    steps = rollout_episodes(env, policy, exam.episodes, watch=watch)
    episodes = [Episode.read(item) for item in steps]
    if judged:
        known = {episode.seed for episode in episodes}
        rows = [dataclasses.asdict(decision) for decision in truth.decisions if decision.episode in known]
        write_rows(path.with_name(f"{path.stem}-decisions.csv"), rows, DECISION_COLUMNS)
    write_log(path, episodes)
    return episodes


def measure_references(
    config: GrowthConfig, exam: Exam, effects: Effects, folder: Path, check: Callable[[], None] = lambda: None
) -> None:
    """Measure what trained controllers are compared with, and what each imposed seed is worth."""
    play_reference("never-grow", NeverGrow(), config, exam, folder, check)
    play_reference("oracle", Oracle(config, best_plans(effects, config)), config, exam, folder, check)
    play_reference("imposed", ImposedSeed(CullAtOnce()), config, exam, folder, check, judged=(Op.CULL,))
    both = (Op.FOSSILIZE, Op.CULL)
    play_reference("random-legal", RandomLegal(exam.seed), config, exam, folder, check, judged=both)


def never_by_deficit(episodes: Sequence[Episode]) -> dict[int, float]:
    """Return never-grow's mean final accuracy under each deficit it met."""
    deficits = sorted({episode.deficit for episode in episodes})
    return {d: float(np.mean([e.final_accuracy for e in episodes if e.deficit == d])) for d in deficits}
