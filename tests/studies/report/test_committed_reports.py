"""The committed reports say what the committed tables say, number for number."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.studies.budgets import BUDGETS, TUNING_SEEDS, VARIANTS
from tamiyo_trl.studies.report import tables
from tamiyo_trl.studies.report.tuning import scores, tuning_table
from tamiyo_trl.studies.report.verdicts import verdict_table, verdicts
from tamiyo_trl.studies.results import Study

EVIDENCE = Path(__file__).parents[3] / "docs" / "results" / "evidence"


@pytest.fixture(scope="module", params=[("ab", "full"), ("long", "long")], ids=["ab", "long"])
def committed(request) -> tuple[Study, str]:
    name, budget = request.param
    return Study(EVIDENCE / name, BUDGETS[budget].run.env), (EVIDENCE / name / "report.md").read_text()


def test_tables_of_accuracy(committed):
    study, page = committed
    config = study.config
    names = [deficit.name for deficit in make_family(config.family, config.image_size, config.task).deficits]
    for shown in (tables.accuracy_table(study), tables.difference_table(study), tables.deficit_table(study, names)):
        assert len(shown.splitlines()) >= 3  # at least one row
        assert shown in page


def test_tables_of_ablations_and_of_the_probe(committed):
    study, page = committed
    for shown in (tables.ablation_table(study), tables.probe_table(study)):
        assert len(shown.splitlines()) >= 3  # at least one row
        assert shown in page


@pytest.mark.slow
def test_tables_of_decisions_and_learning_and_the_verdicts(committed):
    study, page = committed
    for shown in (tables.speed_table(study), tables.imposed_table(study), verdict_table(study), *verdicts(study)):
        assert shown in page


def test_the_table_of_learner_settings():
    page = (EVIDENCE / "tuning" / "README.md").read_text()
    found = scores(EVIDENCE / "tuning", ("mlp-minimal", "lstm-minimal"), list(VARIANTS), TUNING_SEEDS)
    assert all(len(each) == 2 for each in found.values())
    assert tuning_table(found) in page
