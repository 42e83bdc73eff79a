"""The verdicts on the four metrics, from runs whose numbers are made up so that every answer can be read off."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytest

from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.measures.forks import Decision
from tamiyo_trl.studies.measures.imposed import Judgement
from tamiyo_trl.studies.measures.learning import Curve
from tamiyo_trl.studies.report.verdicts import findings, verdict_table, verdicts
from tamiyo_trl.studies.results import Study
from tests.evaluation.worlds import TINY

EPISODES = np.array([10, 20, 30, 40])


@dataclass
class MadeUp:
    """A run with the numbers that verdicts read."""

    seed: int
    accuracy: float
    gain: list[float]
    decisions: list[Decision] = field(default_factory=list)
    judged: list[Judgement] = field(default_factory=list)
    ablations: dict[str, float] = field(default_factory=dict)

    @property
    def curve(self) -> Curve:
        return Curve(EPISODES, np.array(self.gain))


def cull(worth: float, episode: int) -> Decision:
    known = dict.fromkeys(Decision.__dataclass_fields__, 0)
    return Decision(**{**known, "op": int(Op.CULL), "episode": episode, "could_stay": True, "kept": worth})


@pytest.fixture
def study(tmp_path):
    """Four seeds of both memories on `minimal`: the LSTM is surely worse in accuracy and surely slower."""

    class Shown(Study):
        @cached_property
        def arms(self):
            slow, fast = [0.0, 0.1, 0.1, 0.2], [0.1, 0.2, 0.2, 0.2]
            culls = [cull(worth, place) for place, worth in enumerate((-0.1, -0.2, 0.1, -0.1))]
            lstm = [
                MadeUp(
                    seed,
                    0.40 + 0.01 * seed,
                    slow,
                    culls,
                    [],
                    {"reset at 4": drop, "reset every 1": -0.03 - 0.001 * seed},
                )
                for seed, drop in enumerate((-0.01, -0.012, -0.011, -0.013))
            ]
            mlp = [
                MadeUp(seed, 0.40 + 0.01 * seed + more, fast, culls if seed else [])
                for seed, more in enumerate((0.02, 0.021, 0.019, 0.02))
            ]
            return {"lstm-minimal": lstm, "mlp-minimal": mlp}

    return Shown(tmp_path, TINY)


def test_each_metric_by_hand(study):
    found = {item.metric: item for item in findings(study, "minimal")}
    accuracy = found["final test accuracy, points"]
    assert accuracy.found.difference.mean == pytest.approx(-0.02)
    assert (accuracy.verdict, accuracy.found.wins) == ("worse", 0)
    half = found["episodes to 50% of the final gain"]  # 0.1: at 20 against 10 episodes
    assert half.found.difference.mean == 10
    assert half.verdict == "worse"  # more episodes
    most = found["episodes to 90% of the final gain"]  # 0.18: at 40 against 20
    assert most.found.difference.mean == 20
    assert found["area under the learning curve, points"].found.difference.mean == pytest.approx(0.1 - 0.175)
    own = found["cull precision on own seeds, points"]  # 3 of 4 for both; one pair has no culls to compare
    assert (own.found.difference.mean, own.found.difference.n, own.verdict) == (0.0, 3, "no difference shown")
    assert "cull precision on imposed seeds, points" not in found
    reset = found["hidden state reset at 4, points"]
    assert reset.found.difference.mean == pytest.approx(-0.0115)
    assert reset.verdict == "worse"


def test_the_sentence_and_the_table_say_the_same(study):
    (sentence,) = verdicts(study)
    assert sentence.startswith("- On `minimal` (n = 4 training seeds) the LSTM is worse than the MLP in final test acc")
    assert "no difference is shown in cull precision on own seeds" in sentence
    assert "hurts in 1 of 1 places (at 4 -1.1 [" in sentence or "hurts in 1 of 1 places (at 4 -1.2 [" in sentence
    table = verdict_table(study).splitlines()
    assert table[0] == "| LSTM less MLP (hidden state: less itself) | on `minimal` |"
    assert len(table) == 2 + len(findings(study, "minimal"))
    assert table[2].endswith(": worse |")


def test_what_the_t_test_doubts_is_said_with_perhaps(study):
    for run, accuracy in zip(study.arms["lstm-minimal"], (0.421, 0.461, 0.441, 0.467), strict=True):
        run.accuracy = accuracy
    for run, accuracy in zip(study.arms["mlp-minimal"], (0.42, 0.42, 0.44, 0.43), strict=True):
        run.accuracy = accuracy
    accuracy = findings(study, "minimal")[0]
    assert accuracy.found.difference.low > 0
    assert accuracy.found.p > 0.05
    assert accuracy.verdict == "perhaps better"
    assert "is perhaps better than the MLP in final test accuracy (+2.0 [" in verdicts(study)[0]


@pytest.mark.parametrize(("seeds", "said"), [(2, "too few seeds to say"), (3, "worse")])
def test_fewer_than_three_seeds_are_never_worded_better_or_worse(study, seeds, said):
    for runs in study.arms.values():
        del runs[seeds:]
    assert findings(study, "minimal")[0].verdict == said
    (sentence,) = verdicts(study)
    assert ("better" in sentence or "worse" in sentence or "hurts" in sentence) == (seeds == 3)


def test_nothing_is_said_before_a_pair_is_finished(tmp_path):
    empty = Study(tmp_path, TINY)
    assert (verdicts(empty), findings(empty, "minimal")) == ([], [])
