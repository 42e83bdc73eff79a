"""The A/B recipe as a user meets it: what it leaves, repeats, resumes and refuses."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tamiyo_trl.studies import budgets, conduct
from tamiyo_trl.studies.tables import RunKey, Tables, rows_as_written
from tests.recipes.loading import ROOT, load_recipe

RECIPE = ROOT / "recipes" / "ab_mlp_vs_lstm.py"
RUN = "lstm-minimal/seed_0"
FILES = ("run.json", "training.json", "curve.csv", "held_out.csv", "held_out_decisions.csv", "mode.csv")
FILES += ("imposed.csv", "ablation.json", "probe.json", "entropy.json")


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return load_recipe("ab_mlp_vs_lstm")


def arguments(folder: Path, *more: str) -> list[str]:
    return ["--budget", "smoke", "--arms", "lstm-minimal", "--seeds", "1", "--work", str(folder), *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The work folder of one finished study, done by the recipe as a process."""
    folder = tmp_path_factory.mktemp("study")
    result = subprocess.run(
        [sys.executable, str(RECIPE), *arguments(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_a_run_leaves_small_files_of_every_stage(finished):
    results = finished / RUN
    assert set(FILES) <= {path.name for path in results.iterdir()}
    assert sum((results / name).stat().st_size for name in FILES) < 30_000
    curve = list(csv.DictReader((results / "curve.csv").open()))
    assert [row["episodes"] for row in curve] == ["4", "8"]
    assert len(list(csv.DictReader((results / "held_out.csv").open()))) == 8
    ablations = json.loads((results / "ablation.json").read_text())
    assert list(ablations) == ["reset at 4", "reset every 1", "swapped at 4"]
    assert all(len(hosts) == 8 for hosts in ablations.values())
    assert (finished / RUN / "checkpoints").is_dir()


def test_a_finished_run_lies_in_the_tables_a_file_per_kind(finished):
    tables = Tables(finished / "results")
    kinds = {"episodes.csv", "decisions.csv", "curves.csv", "ablations.csv", "runs.json"}
    assert {path.name for path in (finished / "results").iterdir() if path.suffix in (".csv", ".json")} == kinds
    key = RunKey.named(RUN)
    assert {known.name for known in tables.runs} == {RUN, "never-grow", "oracle", "imposed", "random-legal"}
    with (finished / RUN / "held_out.csv").open(newline="") as file:
        assert rows_as_written("episodes", tables.rows("episodes", key, "held_out")) == list(csv.DictReader(file))
    assert tables.runs[key]["probe"] == json.loads((finished / RUN / "probe.json").read_text())
    assert [row["episodes"] for row in tables.rows("curves", key)] == ["4", "8"]


def test_a_stopped_run_goes_on_and_equals_an_uninterrupted_one(recipe, finished, tmp_path, monkeypatch):
    """Stopped after the first update, and again before the last stages of the examination."""
    command = arguments(tmp_path, "--only", RUN)
    calls = 0

    def stop_at(number: int):
        def check() -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                raise KeyboardInterrupt

        return lambda: check

    for number in (1, 40):
        calls = 0
        monkeypatch.setattr(conduct, "obey_parent", stop_at(number))
        assert recipe.main(command) == 130
    results = tmp_path / RUN
    assert (results / "curve.csv").exists()
    assert not (results / "probe.json").exists()
    monkeypatch.setattr(conduct, "obey_parent", lambda: lambda: None)
    assert recipe.main(command) == 0
    for name in FILES:
        if name not in ("run.json", "training.json"):
            assert (results / name).read_bytes() == (finished / RUN / name).read_bytes(), name


def test_a_finished_study_is_not_done_again(recipe, finished, capsys):
    def made() -> dict[Path, int]:
        every = [*finished.rglob("seed_*/**/*"), *finished.rglob("references/*"), *finished.glob("results/*.csv")]
        return {path: path.stat().st_mtime_ns for path in every if path.is_file()}

    before = made()
    assert recipe.main(arguments(finished)) == 0
    assert before == made()
    assert "all 1 runs are finished; to run them anew choose another" in " ".join(capsys.readouterr().out.split())


def test_the_report_is_made_of_the_files_alone(recipe, finished):
    folder = finished / "results"
    page = (folder / "report.md").read_text()
    for name in ("report.md", "report.html", "learning.png"):
        (folder / name).unlink()
    assert recipe.main(arguments(finished)) == 0
    again = (folder / "report.md").read_text()
    assert again.split("- command:")[0] == page.split("- command:")[0]
    assert "| lstm-minimal |" in page
    html = (folder / "report.html").read_text()
    assert html.count("data:image/png;base64,") == page.count("](") > 3
    assert 'src="learning' not in html


def test_seed_n_meets_the_same_hosts_in_every_arm(recipe):
    every = recipe.runs(recipe.Args(budget="full"))
    assert len(every) == 20
    for name, run in every.items():
        arm, _, seed = name.partition("/seed_")
        assert (run.plan.memory, run.plan.env.observation) == tuple(arm.split("-"))
        assert run.plan.seed == int(seed)
        assert run.plan.seed != run.exam.seed
        assert run.plan.ppo == budgets.CHOSEN
        assert run.plan.episodes >= 3000
    assert not set(budgets.TUNING_SEEDS) & {run.plan.seed for run in every.values()}


def test_tuning_tries_the_same_settings_in_every_arm(recipe):
    tried: dict[str, set[str]] = {}
    for name in recipe.runs(recipe.Args(tune=True)):
        arm, setting, _ = name.split("/")
        tried.setdefault(arm, set()).add(setting)
    assert set(tried) == {"mlp-minimal", "lstm-minimal"}
    assert all(settings == set(budgets.VARIANTS) for settings in tried.values())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--arms", "gru-minimal"], "arms must be of"),
        (["--at-once", "0"], "at_once must be positive"),
        (["--only", "mlp-minimal/seed_7"], "only must be one of"),
    ],
)
def test_bad_input_gets_one_clear_line(recipe, capsys, tmp_path, more, message):
    assert recipe.main(["--budget", "smoke", "--work", str(tmp_path), *more]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_results_of_other_settings_are_not_mixed(recipe, finished, capsys, tmp_path):
    results = tmp_path / RUN
    results.mkdir(parents=True)
    saved = json.loads((finished / RUN / "run.json").read_text())
    saved["plan"]["episodes"] = 16
    (results / "run.json").write_text(json.dumps(saved))
    assert recipe.main(arguments(tmp_path, "--only", RUN)) == 2
    assert "other settings" in capsys.readouterr().err


def test_tables_of_other_settings_are_not_mixed(recipe, finished, capsys, tmp_path):
    shutil.copytree(finished / "results", tmp_path / "results")
    path = tmp_path / "results" / "runs.json"
    known = json.loads(path.read_text())
    known[RUN]["plan"]["episodes"] = 16
    path.write_text(json.dumps(known))
    assert recipe.main(arguments(tmp_path)) == 2
    assert "other settings" in capsys.readouterr().err
