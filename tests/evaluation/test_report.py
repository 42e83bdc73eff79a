"""The report says what the numbers say, and the pictures are drawn from them."""

from __future__ import annotations

import numpy as np
import pytest

from tamiyo_trl.evaluation import Episode, Estimate, Row, compare
from tamiyo_trl.evaluation.plots import _stage_during, learning_curve, timeline
from tamiyo_trl.evaluation.report import RunFacts, comparison_table, run_report, verdict
from tamiyo_trl.seeds import Stage


def row(low: float, high: float) -> Row:
    some = Estimate(0.5, 0.4, 0.6, 64)
    return Row("lstm", some, some, Estimate((low + high) / 2, low, high, 64), 1184.0, 1.5, 1.0, 0.25)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "beats random-legal"),
        (-0.03, -0.01, "is worse than random-legal"),
        (-0.01, 0.03, "It is not shown that the lstm controller beats random-legal"),
    ],
)
def test_verdict_follows_the_interval(low, high, words):
    assert words in verdict(row(low, high))


def test_table_shows_per_cent_with_intervals():
    assert "| lstm | 50.0 [40.0, 60.0] |" in comparison_table([row(0.01, 0.03)])
    assert "| +2.0 [+1.0, +3.0] | 1,184 | 1.5 | 1.0 | 0.2 |" in comparison_table([row(0.01, 0.03)])


def test_report_names_command_versions_and_hosts():
    facts = RunFacts("python recipes/train.py --name x", {"torch": "2.13.0"}, "CPU", 480, 3.2, 77, {"contrast": 5})
    page = run_report("x", [row(0.01, 0.03)], "lstm", facts, {"Learning curve": "learning_curve.png"})
    for fact in ("python recipes/train.py --name x", "torch 2.13.0", "480 episodes", "seed 77", "5 contrast"):
        assert fact in page
    assert "![Learning curve](learning_curve.png)" in page


def episode() -> Episode:
    """Germinate at step 0 and site 1, cull at step 3."""
    stage = np.zeros((6, 2), dtype=int)
    stage[0:3, 1] = [int(Stage.TRAINING), int(Stage.BLENDING), int(Stage.BLENDING)]
    action = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 0], [3, 1, 0], [0, 0, 0], [0, 0, 0]])
    zeros = np.zeros((6, 2))
    accuracy = np.linspace(0.1, 0.6, 6)
    return Episode(1, 0, 0.55, 4.5, 0.0, 1, 0, 1, accuracy, stage, zeros.astype(int), zeros, action)


def test_stage_during_an_epoch_is_the_one_before_it_changed_by_the_action():
    during = _stage_during(episode())[:, 1].tolist()
    assert during[:5] == [Stage.TRAINING, Stage.TRAINING, Stage.BLENDING, Stage.CULLED, Stage.DORMANT]


def test_pictures_are_drawn(tmp_path):
    count = np.full(8, 16.0)
    accuracy = np.linspace(0.4, 0.6, 8)
    accuracy[2] = np.nan
    metrics = {"episode/count": count, "growth/final_accuracy": accuracy, "episode/return": accuracy * 10}
    learning_curve(metrics, tmp_path / "curve.png", {"never-grow": 0.45})
    timeline([("first", episode()), ("second", episode())], ("wide",), tmp_path / "timeline.png")
    for name in ("curve.png", "timeline.png"):
        assert (tmp_path / name).stat().st_size > 10_000


def test_compare_pairs_by_host():
    better = Episode(**{**vars(episode()), "final_accuracy": 0.65})
    rows = compare({"a": [better, better], "b": [episode(), episode()]}, "b", "b")
    assert rows[0].gain.mean == pytest.approx(0.1)
