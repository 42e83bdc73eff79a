"""Controllers on held-out hosts: one results file per controller, so that a stopped comparison goes on where it was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tensordict.nn import TensorDictModuleBase

from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation.rollout import Episode
from tamiyo_trl.files import write_json
from tamiyo_trl.policies.baselines import FixedSchedule, Heuristic, NeverGrow, Planting, RandomLegal

BASELINES = ("never-grow", "random-legal", "fixed schedule", "heuristic")

# The best constant choice of the effect maps (one blueprint at one site for every host), planted at step 3; a task that
# is not mapped takes that of digits.
FIXED_CHOICE = {
    ("digits", 8): (0, "wide"),
    ("digits", 16): (0, "conv_heavy"),
    ("templates", 8): (2, "conv_heavy"),
    ("templates", 16): (2, "conv_heavy"),
}


def make_baseline(name: str, config: GrowthConfig, seed: int) -> TensorDictModuleBase:
    """Return the named baseline for environments of this configuration.

    Raises:
        ConfigError: the name is unknown.
    """
    if name == "never-grow":
        return NeverGrow()
    if name == "random-legal":
        return RandomLegal(seed)
    if name == "heuristic":
        return Heuristic(config)
    if name == "fixed schedule":
        size = 8 if config.image_size < 16 else 16
        site, blueprint = FIXED_CHOICE.get((config.task, size), FIXED_CHOICE["digits", size])
        if blueprint not in config.blueprints:
            blueprint = config.blueprints[-1]
        plan = [Planting(3, min(site, len(config.sites) - 1), config.blueprints.index(blueprint))]
        return FixedSchedule(config, config.episode_steps, plan)
    raise ConfigError(f"a baseline must be one of {BASELINES}, got {name!r}")


def kept(path: Path, make: Callable[[], list[Episode]]) -> list[Episode]:
    """Return the episodes in this results file; where there is none, make them and write it."""
    if path.exists():
        return load_episodes(path)
    episodes = make()
    save_episodes(path, episodes)
    return episodes


def save_episodes(path: Path, episodes: list[Episode]) -> None:
    """Write a results file; it appears whole or not at all."""
    rows = [
        {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(episode).items()}
        for episode in episodes
    ]
    write_json(path, rows)


def load_episodes(path: Path) -> list[Episode]:
    """Read a results file."""
    arrays = [field.name for field in dataclasses.fields(Episode) if field.type == "np.ndarray"]
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return [Episode(**row | {name: np.asarray(row[name]) for name in arrays}) for row in rows]
