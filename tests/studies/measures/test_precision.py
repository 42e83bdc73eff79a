"""Cull precision by hand, and decisions that survive their file."""

from __future__ import annotations

import dataclasses

import pytest

from tamiyo_trl.files import write_rows
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.examination import DECISION_COLUMNS
from tamiyo_trl.studies.measures.forks import Decision
from tamiyo_trl.studies.measures.imposed import Judgement
from tamiyo_trl.studies.measures.precision import imposed_score, precision, read_decisions


def decision(op: Op, worth: float, episode: int = 0, could_stay: bool = True) -> Decision:
    return Decision(episode, 1, 9, int(op), 0, 4, 3, 6, round(0.5 + worth, 6), 0.5, could_stay)


RUNS = [
    [decision(Op.CULL, -0.2), decision(Op.CULL, 0.1, 1), decision(Op.FOSSILIZE, 0.3, 1), decision(Op.CULL, -0.4, 2)],
    [decision(Op.FOSSILIZE, -0.1), decision(Op.FOSSILIZE, 0.2, 1), decision(Op.CULL, -0.3, 5, could_stay=False)],
]


def test_precision_counts_what_could_matter():
    """Three culls count, two of them of harmful seeds; three fossils, two helpful; harmful in all: 3 of 6, culled 2."""
    found = precision(RUNS)
    assert (found.culls, found.fossils) == (3, 3)
    assert found.cull_precision.mean == pytest.approx(2 / 3)
    assert found.fossil_precision.mean == pytest.approx(2 / 3)
    assert found.recall.mean == pytest.approx(2 / 3)
    assert (found.harmful.mean, found.harmful.n) == (pytest.approx(1 / 2), 6)
    assert found.culled_worth == pytest.approx((-0.2 + 0.1 - 0.4) / 3)
    assert found.kept_worth == pytest.approx((0.3 - 0.1 + 0.2) / 3)
    assert found.cull_precision.low <= 2 / 3 <= found.cull_precision.high


def test_a_margin_asks_for_more_than_noise():
    """Beyond 0.15: of the culls two harm (-0.2, -0.4), of the fossils two help (0.3, 0.2), two harm in all."""
    found = precision(RUNS, margin=0.15)
    assert found.cull_precision.mean == pytest.approx(2 / 3)
    assert found.fossil_precision.mean == pytest.approx(2 / 3)
    assert found.recall.mean == pytest.approx(1.0)


def test_without_culls_there_is_no_precision():
    found = precision([[decision(Op.FOSSILIZE, 0.1)]])
    assert found.cull_precision is None
    assert found.recall is None
    assert found.fossil_precision.mean == 1


def test_imposed_seeds_are_scored_over_all_of_them():
    """Two of five harm; three are culled, one of them harmful; of the two kept one helps."""
    judged = [
        [Judgement(1, "culled", 6, -0.2), Judgement(2, "culled", 6, 0.1), Judgement(3, "neither", 25, -0.1)],
        [Judgement(1, "culled", 6, 0.2), Judgement(2, "fossilized", 9, 0.1)],
    ]
    found = imposed_score(judged)
    assert (found.seeds, found.harmful, found.culled) == (5, pytest.approx(2 / 5), pytest.approx(3 / 5))
    assert found.cull_precision.mean == pytest.approx(1 / 3)
    assert found.recall.mean == pytest.approx(1 / 2)
    assert found.fossil_precision.mean == 1


def test_decisions_survive_their_file(tmp_path):
    rows = [item for run in RUNS for item in run]
    write_rows(tmp_path / "d.csv", [dataclasses.asdict(item) for item in rows], DECISION_COLUMNS)
    assert read_decisions(tmp_path / "d.csv") == rows
