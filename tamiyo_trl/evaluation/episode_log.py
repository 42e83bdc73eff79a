"""Episodes as small text files: what was done and measured; stages and alphas follow from the actions."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.evaluation.rollout import Episode
from tamiyo_trl.seeds import Lifecycle, Stage
from tamiyo_trl.seeds.lifecycle import Op

_LETTERS = {Op.GERMINATE: "G", Op.FOSSILIZE: "F", Op.CULL: "C"}
_NUMBERS = ("seed", "deficit", "final_accuracy", "reward", "added_parameters", "germinated", "fossilized", "culled")
_WHOLE = ("seed", "deficit", "germinated", "fossilized", "culled")
COLUMNS = (*_NUMBERS, "actions", "val_accuracy")
EPISODE_COLUMNS = (
    *("seed", "deficit", "final_accuracy", "reward", "added_parameters"),
    *("germinated", "fossilized", "culled"),
)


def write_log(path: Path, episodes: Sequence[Episode]) -> None:
    """Write one line per episode; the file appears whole or not at all.

    `actions` lists what was not WAIT as step, letter, site and, for a germination, blueprint: `3G0.5 9F0`.
    `val_accuracy` has four digits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for episode in episodes:
            numbers = [_short(getattr(episode, name)) for name in _NUMBERS]
            writer.writerow([*numbers, actions_text(episode), " ".join(f"{v:.4f}" for v in episode.val_accuracy)])
    os.replace(temporary, path)


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def actions_text(episode: Episode) -> str:
    """Return what was done, as the file has it."""
    done = []
    for step, (op, site, kind) in enumerate(episode.action.tolist()):
        if op != Op.WAIT:
            done.append(f"{step}{_LETTERS[Op(op)]}{site}" + (f".{kind}" if op == Op.GERMINATE else ""))
    return " ".join(done)


def read_log(path: Path, config: GrowthConfig) -> list[Episode]:
    """Read what `write_log` wrote of an environment of this configuration."""
    with path.open(newline="") as file:
        return [read_episode(row, config) for row in csv.DictReader(file)]


def read_episode(row: Mapping[str, str], config: GrowthConfig) -> Episode:
    """Read one line of `write_log`, given as column: text."""
    accuracy = np.array([float(value) for value in row["val_accuracy"].split()], dtype=np.float32)
    action = _actions(row["actions"], len(accuracy))
    stage, blueprint, alpha = lives(action, config)
    numbers: dict[str, Any] = {name: (int if name in _WHOLE else float)(row[name]) for name in _NUMBERS}
    return Episode(**numbers, val_accuracy=accuracy, stage=stage, blueprint=blueprint, alpha=alpha, action=action)


def _actions(text: str, n_steps: int) -> np.ndarray:
    action = np.zeros((n_steps, 3), dtype=np.int64)
    letters = {letter: op for op, letter in _LETTERS.items()}
    for item in text.split():
        letter = next(character for character in item if character in letters)
        step, _, rest = item.partition(letter)
        site, _, kind = rest.partition(".")
        action[int(step)] = (int(letters[letter]), int(site), int(kind or 0))
    return action


def lives(action: np.ndarray, config: GrowthConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return stage, blueprint (-1 for none) and alpha of every site after each step, [T, S], given actions [T, 3]."""
    n_sites = len(config.sites)
    lifecycle = Lifecycle(config.lifecycle, 1, n_sites)
    kinds = np.full(n_sites, -1)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for step, (op, site, kind) in enumerate(action.tolist()):
        if op == Op.GERMINATE:
            lifecycle.move(0, site, Stage.TRAINING)
            kinds[site] = kind
        elif op == Op.FOSSILIZE:
            lifecycle.move(0, site, Stage.FOSSILIZED)
        elif op == Op.CULL:
            lifecycle.move(0, site, Stage.CULLED)
            kinds[site] = -1
        if step + 1 == config.episode_steps:
            for live in lifecycle.is_live[0].nonzero().flatten().tolist():
                lifecycle.move(0, live, Stage.CULLED)
                kinds[live] = -1
        lifecycle.advance()
        found.append((lifecycle.stage[0].numpy().copy(), kinds.copy(), lifecycle.alpha[0].numpy().copy()))
    stage, blueprint, alpha = (np.stack(part) for part in zip(*found, strict=True))
    return stage, blueprint, alpha


def write_episodes(path: Path, results: Mapping[str, Sequence[Episode]]) -> None:
    """Write one line per controller and held-out host."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["controller", *EPISODE_COLUMNS])
        for controller, episodes in results.items():
            writer.writerows(
                [controller, *(getattr(episode, name) for name in EPISODE_COLUMNS)] for episode in episodes
            )
