"""The comparison of all controllers: one table of them, on the same hosts, from files; nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from tamiyo_trl.studies.budgets import TOY
from tamiyo_trl.studies.results import Study
from tests.recipes.loading import load_recipe

RUN = "frames-minimal/seed_0"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return load_recipe("compare_memories")


def arguments(folder: Path, *more: str) -> list[str]:
    chosen = ["--budget", "smoke", "--arms", "frames-minimal", "--seeds", "1", "--ab", str(folder / "ab")]
    return [*chosen, "--work", str(folder), *more]


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory) -> Path:
    """A comparison of which everything is measured, piece by piece in this process, and the table made."""
    folder = tmp_path_factory.mktemp("memories")
    for piece in ("references", RUN):
        assert recipe.main(arguments(folder, "--only", piece)) == 0
    assert recipe.main(arguments(folder)) == 0
    return folder / "results"


def test_every_controller_has_a_line(finished):
    page = (finished / "README.md").read_text()
    table = [line for line in page.splitlines() if line.startswith("| ")][1:]
    names = [line.split("|")[1].strip() for line in table]
    assert names == ["never-grow", "random-legal", "fixed schedule", "heuristic", "oracle", "frames on `minimal`"]
    assert "Controllers on 8 held-out hosts" in page
    assert table[0].split("|")[4].strip() == "+0.0 [+0.0, +0.0]"  # never-grow's gain over itself
    assert table[4].split("|")[5].strip() in ("100", "")  # the oracle's share of its own gain
    assert table[2].split("|")[6].strip() == "+0.0 [+0.0, +0.0]"  # the fixed schedule over itself
    assert "- Against the best fixed schedule" in page


def test_everyone_met_the_same_hosts(finished):
    study = Study(finished, TOY)
    hosts = [episode.seed for episode in study.reference("never-grow")]
    for name in ("random-legal", "fixed schedule", "heuristic", "oracle"):
        assert [episode.seed for episode in study.reference(name)] == hosts
    (run,) = study.arms["frames-minimal"]
    assert [episode.seed for episode in run.held_out] == hosts


def test_the_best_schedule_found_is_the_one_that_is_played(recipe, finished):
    found = json.loads((finished / "schedules.json").read_text())
    assert set(found) == {f"{choice} from 3" for choice in recipe.CANDIDATES[:2]}
    best = max(found, key=found.get)
    assert f"{best.replace(' from ', ' from step ')}" in " ".join((finished / "README.md").read_text().split())
    kind, _, site = best.partition(" ")[0].partition("@")
    for episode in Study(finished, TOY).reference("fixed schedule"):
        assert episode.action[3].tolist() == [1, int(site), TOY.blueprints.index(kind)]


def test_bad_input_gets_one_clear_line(recipe, capsys, tmp_path):
    for more, message in (
        (("--arms", "elephant"), "memory-observation"),
        (("--only", "gru-minimal/seed_7"), "only must be one of"),
        (("--seeds", "0"), "positive"),
    ):
        assert recipe.main(arguments(tmp_path, *more)) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
