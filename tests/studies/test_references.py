"""The oracle makes the map's choice for each deficit, and references are played once on the exam's hosts."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation import evaluate
from tamiyo_trl.policies.baselines import Planting
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.effects.map import NEVER, Effects
from tamiyo_trl.studies.measures.precision import read_decisions
from tamiyo_trl.studies.references import (
    Oracle,
    best_plans,
    load_effects,
    make_reference,
    measure_references,
    never_by_deficit,
    plan_of,
)
from tamiyo_trl.studies.run import Exam
from tests.evaluation.worlds import TINY

NAMES = ("contrast", "slow", "stuck1", "noisy labels")


def effects() -> Effects:
    """Best: norm@0, wide@2, never-grow, norm@0."""
    net = np.zeros((4, 3, 2))
    net[0, 1], net[1, 2], net[2, 1:], net[3, 1] = 0.1, 0.2, -0.1, 0.05
    return Effects(NAMES, (NEVER, "norm@0", "wide@2"), net)


def test_the_oracle_plants_what_the_map_found_best():
    plans = best_plans(effects(), TINY)
    assert plans == [(Planting(3, 0, 0),), (Planting(3, 2, 5),), (), (Planting(3, 0, 0),)]
    episodes = evaluate(GrowthEnv(TINY, 8, seed=11), Oracle(TINY, plans), 8)
    assert len({episode.deficit for episode in episodes}) >= 3
    for episode in episodes:
        planted = [tuple(action[1:]) for action in episode.action.tolist() if action[0] == Op.GERMINATE]
        assert planted == [(item.site, item.blueprint) for item in plans[episode.deficit]]
        assert episode.fossilized == len(planted)


def test_a_map_without_a_deficit_is_refused():
    with pytest.raises(ConfigError, match="lacks 'slow'"):
        best_plans(dataclasses.replace(effects(), deficits=("contrast", "quick", "stuck1", "noisy labels")), TINY)


def test_schedules_are_read_from_choices():
    assert plan_of("wide@0 lossy@2", TINY) == (Planting(3, 0, 5), Planting(3, 2, 6))
    for wrong in ("wide@7", "oak@0", "wide"):
        with pytest.raises(ConfigError, match="blueprint@site"):
            plan_of(wrong, TINY)
    with pytest.raises(ConfigError, match="got 'lstm'"):
        make_reference("lstm", TINY, 0, {})


def test_references_are_measured_once(tmp_path):
    exam = Exam(episodes=4, n_envs=4)
    measure_references(TINY, exam, effects(), tmp_path)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(files) == {
        *("never-grow.csv", "oracle.csv", "imposed.csv", "imposed-decisions.csv"),
        *("random-legal.csv", "random-legal-decisions.csv"),
    }
    assert len(read_decisions(tmp_path / "imposed-decisions.csv")) == 4
    measure_references(TINY, exam, effects(), tmp_path)
    assert files == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_the_committed_map_gives_the_choices_its_page_names():
    folder = Path(__file__).parents[2] / "docs" / "results" / "effects" / "mixed-digits-8"
    found = load_effects(folder)
    best = {name: found.arms[arm] for name, arm in zip(found.deficits, found.best, strict=True)}
    page = (folder / "README.md").read_text()
    assert set(best) == set(NAMES)
    for name, arm in best.items():
        assert re.search(rf"^\| {name} \| [\d.]+ \| {re.escape(arm)} \|", page, re.MULTILINE), (name, arm)
    with pytest.raises(ConfigError, match="holds no map"):
        load_effects(folder.parent)


def test_never_by_deficit_is_a_mean_per_deficit():
    episodes = evaluate(GrowthEnv(TINY, 4, seed=11), make_reference("never-grow", TINY, 0, {}), 4)
    found = never_by_deficit(episodes)
    for deficit, mean in found.items():
        assert mean == pytest.approx(np.mean([e.final_accuracy for e in episodes if e.deficit == deficit]))
