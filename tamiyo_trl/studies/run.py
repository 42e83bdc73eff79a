"""A study's runs: train one controller, examine it on held-out hosts, and leave small files that reports are made of.

Every stage of a run is a file: a stage whose file is there is not done again, so a stopped run goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import resource
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.errors import RunFolderError
from tamiyo_trl.files import write_json, write_rows
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.training import has_run, load_checkpoint
from tamiyo_trl.training.experiment import RunConfig, make_controller, training
from tamiyo_trl.training.summaries import deficit_summary, growth_summary
from tamiyo_trl.training.table import read_metrics

CURVE = "curve.csv"
KEPT_COLUMNS = ("episode/return", "entropy/joint", "ppo/kl", "value/explained_variance")


@dataclass(frozen=True)
class Exam:
    """How a trained controller is examined.

    Attributes:
        episodes: Held-out hosts the controller meets, by sampled actions as in training.
        n_envs: Hosts at once; it decides which hosts they are, so every controller must be examined with the same.
        seed: Root seed of the held-out hosts; no training uses it.
        mode_episodes: Of these hosts, how many are also met by the policy's mode.
        disturbed_episodes: Of these hosts, how many are met with the hidden state disturbed, in each way below.
        reset_at: Steps at which the hidden state is reset once, one evaluation each.
        reset_every: Periods of repeated resets, one evaluation each.
        swap_at: Steps at which the hidden states change places between hosts, one evaluation each.
    """

    episodes: int = 64
    n_envs: int = 32
    seed: int = 1_000_003
    mode_episodes: int = 64
    disturbed_episodes: int = 32
    reset_at: tuple[int, ...] = (4, 8, 12)
    reset_every: tuple[int, ...] = (1, 4)
    swap_at: tuple[int, ...] = (8,)


@dataclass(frozen=True)
class Run:
    """One run of a study.

    Attributes:
        plan: What is learned.
        results: Folder of the small files that are kept.
        work: Folder of checkpoints and full metrics.
        exam: How the trained controller is examined.
        command: The command line that asked for it.
    """

    plan: RunConfig
    results: Path
    work: Path
    exam: Exam = field(default_factory=Exam)
    command: str = ""

    @property
    def updates(self) -> int:
        """Updates of the whole training."""
        return self.plan.episodes // self.plan.n_envs

    @property
    def updates_done(self) -> int:
        """Updates trained so far, read from the metrics table."""
        if (self.results / CURVE).exists():
            return self.updates
        table = self.work / "metrics.csv"
        return max(0, table.read_bytes().count(b"\n") - 1) if table.exists() else 0


def claim(run: Run) -> None:
    """Write down what decides the run's numbers.

    Raises:
        RunFolderError: the results folder holds a run of other settings.
    """
    path = run.results / "run.json"
    settings = json.loads(json.dumps(dataclasses.asdict(run.plan), default=str))
    if path.exists():
        check_settings(run, json.loads(path.read_text()), run.results)
        return
    versions = {"python": platform.python_version()}
    versions |= {name: version(name) for name in ("torch", "torchrl", "tensordict")}
    write_json(path, {"command": run.command, "versions": versions, "plan": settings})


def check_settings(run: Run, known: Mapping[str, Any], place: Path) -> None:
    """Check that what is known of a run that lies at `place` is of these settings.

    Raises:
        RunFolderError: the settings are others.
    """
    settings = json.loads(json.dumps(dataclasses.asdict(run.plan), default=str))
    if not agree(_flat(dict(known["plan"])), settings):
        raise RunFolderError(f"{place} holds a run with other settings; remove it or choose another folder")


def _flat(plan: dict[str, Any]) -> dict[str, Any]:
    """Return saved settings as they are written now; they once had an entry for the controller's."""
    if "controller" not in plan:
        return plan
    controller = dict(plan.pop("controller"))
    scheduled = {name: controller.pop(name) for name in ("lr", "lr_end", "entropy_coeff", "entropy_end")}
    return plan | controller | {"ppo": controller["ppo"] | scheduled}


def agree(saved: Any, present: Any) -> bool:
    """Return whether settings agree wherever both are known: a later version may know more of them."""
    if isinstance(saved, dict) and isinstance(present, dict):
        return all(agree(saved[name], present[name]) for name in saved.keys() & present.keys())
    if isinstance(saved, list) and isinstance(present, list):
        return len(saved) == len(present) and all(map(agree, saved, present))
    return bool(saved == present)


def train_run(run: Run, on_update: Callable[[dict[str, float]], None] | None = None) -> None:
    """Train what is left to train, and keep the learning curve; do nothing where it is kept already.

    Raises:
        RunFolderError: the results folder holds a run of other settings.
    """
    claim(run)
    if (run.results / CURVE).exists():
        return
    with closing(GrowthEnv(run.plan.env, run.plan.n_envs, run.plan.seed)) as env:
        actor_critic = make_controller(run.plan, env)
        updates = training(
            run.plan,
            env,
            actor_critic,
            run.work,
            resume=has_run(run.work),
            summaries=(growth_summary, deficit_summary),
        )
        for metrics in updates:
            if on_update is not None:
                on_update(metrics)
    timings = read_metrics(run.work / "timings.csv")
    facts = {
        "episodes": run.plan.episodes,
        "parameters": sum(weights.numel() for weights in actor_critic.parameters()),
        "collect_seconds": round(float(timings["time/collect"].sum()), 1),
        "update_seconds": round(float(timings["time/update"].sum()), 1),
        "last_process_cpu_seconds": round(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 1),
        "cores": os.cpu_count(),
    }
    write_json(run.results / "training.json", facts)
    keep_curve(run.work / "metrics.csv", run.results / CURVE)


def keep_curve(metrics: Path, path: Path) -> None:
    """Write what reports need of a metrics table, with five digits."""
    table = read_metrics(metrics)
    names = [name for name in table if name.startswith(("growth/", "deficit_")) or name in KEPT_COLUMNS]
    episodes = np.nancumsum(table["episode/count"]).astype(int)
    rows = [
        {"episodes": int(done)} | {name: _digits(table[name][place]) for name in names}
        for place, done in enumerate(episodes)
    ]
    write_rows(path, rows, ["episodes", *names])


def _digits(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.5g}"


def trained(run: Run, env: GrowthEnv) -> ActorCritic:
    """Return the trained controller of a finished training."""
    actor_critic = make_controller(run.plan, env)
    state = load_checkpoint(run.work / "checkpoints")
    actor_critic.load_state_dict(state["learner"]["actor_critic"])
    with torch.no_grad():
        return actor_critic.eval()
