"""The training recipe as a user meets it: what it writes, refuses, repeats and resumes."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from tamiyo_trl import cli

ROOT = Path(__file__).parents[2]
TOY = [
    *("--env.image-size", "8", "--env.episode-steps", "10", "--env.training.images-per-step", "64"),
    *("--env.splits.train", "128", "--env.splits.val", "64", "--env.splits.test", "64"),
    *("--n-envs", "4", "--eval-episodes", "4", "--hidden-size", "16", "--encoder-size", "16"),
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def command(runs: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "recipes" / "train.py"), "--runs", str(runs), *arguments]


def call(runs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(runs, *arguments), capture_output=True, text=True, env=ENVIRONMENT, check=False)


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    """The recipe as a module, for what needs no process of its own."""
    spec = importlib.util.spec_from_file_location("train_recipe", ROOT / "recipes" / "train.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def refused(recipe: ModuleType, capsys, *arguments: str) -> str:
    """Call the recipe with a command line that must not work; return what it says, as one line."""
    try:
        status = recipe.main(list(arguments))
    except SystemExit as stop:  # the command line's own parser
        status = stop.code
    assert status == 2
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with one finished run called `first`."""
    folder = tmp_path_factory.mktemp("runs")
    result = call(folder, "--name", "first", "--seed", "3", "--episodes", "24", *TOY)
    assert result.returncode == 0, result.stderr
    (folder / "first.out").write_text(result.stdout)
    return folder


def test_a_run_leaves_what_it_promises(runs):
    folder = runs / "first"
    for name in ("config.json", "metrics.csv", "timings.csv", "report.md", "episodes.csv"):
        assert (folder / name).stat().st_size > 0, name
    for name in ("learning_curve.png", "timeline.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name
    assert list((folder / "checkpoints").iterdir())
    report = (folder / "report.md").read_text()
    for controller in ("lstm", "untrained", "never-grow", "random-legal", "fixed schedule", "heuristic"):
        assert f"| {controller} |" in report
    assert "random-legal" in report.splitlines()[2]  # the verdict comes first
    printed = (runs / "first.out").read_text().replace("\n", "")
    assert "report.md" in printed
    assert json.loads((folder / "config.json").read_text())["settings"]["run"]["seed"] == 3


def test_metrics_hold_one_finite_row_per_update(runs):
    rows = list(csv.DictReader((runs / "first" / "metrics.csv").open()))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(abs(float(row["ppo/max_ratio_first"]) - 1) < 1e-4 for row in rows)
    assert all(0 < float(row["growth/final_accuracy"]) < 1 for row in rows)
    assert float(rows[-1]["train/frames"]) == 240


def test_same_seed_gives_identical_metrics_and_held_out_episodes(runs):
    result = call(runs, "--name", "again", "--seed", "3", "--episodes", "24", *TOY)
    assert result.returncode == 0, result.stderr
    for name in ("metrics.csv", "episodes.csv"):
        assert (runs / "first" / name).read_bytes() == (runs / "again" / name).read_bytes()


def test_baselines_meet_the_same_hosts_where_the_controller_sees_less(recipe, runs, tmp_path):
    more = ("--env.observation", "minimal", "--memory", "mlp")
    command = ["--name", "minimal", "--runs", str(tmp_path), "--seed", "3", "--episodes", "4", *TOY, *more]
    assert recipe.main(command) == 0

    def lines(folder: Path) -> list[str]:
        return [line for line in (folder / "episodes.csv").read_text().splitlines() if line.startswith("heuristic,")]

    assert len(lines(runs / "first")) == 4
    assert lines(tmp_path / "minimal") == lines(runs / "first")


@pytest.mark.parametrize(("processes", "number"), [(1, signal.SIGINT), (1, signal.SIGTERM), (2, signal.SIGINT)])
def test_stopped_and_resumed_equals_uninterrupted(runs, processes, number):
    """The signal reaches the whole group, workers included, as a terminal's Ctrl-C does."""
    settings = ("--seed", "3", "--episodes", "24", "--processes", str(processes), *TOY)
    name, whole = f"stopped-{processes}-{number}", "first"
    if processes > 1:
        whole = "shared-out"
        assert call(runs, "--name", whole, *settings).returncode == 0
    process = subprocess.Popen(
        command(runs, "--name", name, *settings),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # nohup ignores it
    )
    table = runs / name / "metrics.csv"
    deadline = time.monotonic() + 240
    while not (table.exists() and len(table.read_text().splitlines()) > 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, number)
    printed, errors = process.communicate(timeout=240)
    assert "Traceback" not in errors
    if process.returncode == 130:  # else it had finished before the signal came
        assert f"--name {name}" in printed.replace("\n", " ")
        assert "--resume" in printed
        assert not (runs / name / "report.md").exists()
        result = call(runs, "--name", name, "--resume")
        assert result.returncode == 0, result.stderr
    assert table.read_bytes() == (runs / whole / "metrics.csv").read_bytes()
    assert (runs / name / "episodes.csv").read_bytes() == (runs / whole / "episodes.csv").read_bytes()


def test_a_run_that_was_killed_before_it_kept_anything_starts_again(runs, tmp_path):
    (tmp_path / "early").mkdir()
    shutil.copy(runs / "first" / "config.json", tmp_path / "early")
    for extra in (("--resume",), ("--seed", "3", "--episodes", "24", *TOY)):
        result = call(tmp_path, "--name", "early", *extra)
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "early" / "metrics.csv").read_bytes() == (runs / "first" / "metrics.csv").read_bytes()
        shutil.rmtree(tmp_path / "early" / "checkpoints")
        (tmp_path / "early" / "metrics.csv").unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env.task", "faces"], "task must be one of"),
        (["--memory", "elephant"], "elephant"),
        (["--env.episode-steps", "5"], "one seed life of 7 steps, got 5"),
        (["--episodes", "17"], "episodes must be a positive multiple of n_envs=4, got 17"),
        (["--env.training.batch-size", "48"], "48 and 64 do not fit"),
        (["--ppo.slice-len", "0"], "slice_len must be at least 1"),
        (["--ppo.minibatches", "999"], "minibatches"),
        (["--name", "../away"], "plain folder name"),
        (["--eval-seed", "0"], "eval_seed must differ"),
    ],
)
def test_bad_input_gets_one_clear_line_and_leaves_nothing(recipe, capsys, tmp_path, arguments, message):
    said = refused(recipe, capsys, "--name", "bad", "--runs", str(tmp_path), *TOY, *arguments)
    assert message in said
    assert not list(tmp_path.iterdir())


def test_bad_input_ends_the_process_with_one_line_and_no_traceback(tmp_path):
    result = call(tmp_path, "--name", "bad", "--env.task", "faces")
    assert result.returncode == 2
    assert (
        result.stderr
        == "error: task must be one of ['cifar10', 'digits', 'fresh-templates', 'templates'], got 'faces'\n"
    )


def test_a_folder_that_holds_a_run_is_not_overwritten(recipe, capsys, runs):
    before = {path: path.read_bytes() for path in (runs / "first").rglob("*") if path.is_file()}
    said = refused(recipe, capsys, "--name", "first", "--runs", str(runs), "--episodes", "8", *TOY)
    assert said.startswith("error: ")
    assert "already holds a run" in said
    assert before == {path: path.read_bytes() for path in (runs / "first").rglob("*") if path.is_file()}


def test_resuming_nothing_is_refused(recipe, capsys, tmp_path):
    said = refused(recipe, capsys, "--name", "nothing", "--runs", str(tmp_path), "--resume")
    assert "holds no run to resume" in said


def test_damaged_checkpoints_are_refused(recipe, capsys, runs, tmp_path):
    shutil.copytree(runs / "first", tmp_path / "broken")
    for path in (tmp_path / "broken" / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    said = refused(recipe, capsys, "--name", "broken", "--runs", str(tmp_path), "--resume", "--episodes", "32")
    assert said.startswith("error: ")
    assert "checkpoint" in said


def test_the_learning_rate_is_set_from_the_command_line_where_the_learner_reads_it(recipe):
    args = cli.parse(
        recipe.Args, None, ["--name", "x", "--ppo.lr", "1e-2", "--ppo.lr-end", "1e-3", "--ppo.entropy-end", "None"]
    )
    assert (args.run.ppo.lr, args.run.ppo.lr_end, args.run.ppo.entropy_end) == (1e-2, 1e-3, None)
    assert args.run.ppo.slice_len == recipe.RunConfig().ppo.slice_len


def test_help_explains_every_setting():
    result = subprocess.run(
        [sys.executable, str(ROOT / "recipes" / "train.py"), "--help"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert result.returncode == 0
    assert "positional" not in result.stdout
    for words in (
        "--memory",
        "Hosts trained at once",
        "--ppo.lr ",
        "--ppo.slice-len",
        "Timers of a seed's life",
        "--resume",
    ):
        assert words in result.stdout
