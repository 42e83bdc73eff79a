"""The recipes around growing: a comparison on anybody's networks, and a run that becomes a shipped controller."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tamiyo_trl.grow import load_controller

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def call(recipe: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "recipes" / recipe), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)


@pytest.mark.slow
def test_every_arm_trains_every_network_and_all_is_written(tmp_path: Path) -> None:
    toy = ("--seeds", "2", "--epochs", "7", "--train-images", "32", "--image-size", "8", "--out", str(tmp_path))
    result = call("grow_your_model.py", *toy)
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader((tmp_path / "arms.csv").open()))
    assert len(rows) == 2 * 6 * 2  # networks, arms, seeds
    assert {row["network"] for row in rows} == {"residual CNN", "MLP"}
    never = [row for row in rows if row["arm"] == "never-grow"]
    assert all(row["added_parameters"] == row["germinated"] == "0" for row in never)
    assert all(0 <= float(row["test_accuracy"]) <= 1 for row in rows)
    report = (tmp_path / "report.md").read_text()
    assert report.count("| never-grow |") == 2
    assert len(list(tmp_path.glob("timeline-*.png"))) == 6


def test_too_few_seeds_are_refused_by_name() -> None:
    result = call("grow_your_model.py", "--seeds", "1")
    assert result.returncode == 2
    assert "seeds must be at least 2" in " ".join((result.stderr + result.stdout).split())


@pytest.mark.slow
def test_a_finished_run_becomes_a_controller_with_its_own_figures(tmp_path: Path) -> None:
    toy = ["--env.image-size", "8", "--env.episode-steps", "10", "--env.training.images-per-step", "64"]
    toy += ["--env.splits.train", "128", "--env.splits.val", "64", "--env.splits.test", "64", "--n-envs", "4"]
    toy += ["--env.observation", "minimal", "--eval-episodes", "4", "--hidden-size", "16", "--encoder-size", "16"]
    trained = call("train.py", "--runs", str(tmp_path), "--name", "toy", "--episodes", "8", *toy)
    assert trained.returncode == 0, trained.stderr
    run, out = tmp_path / "toy", tmp_path / "shipped"
    shipped = call("ship_controller.py", "--run", str(run), "--name", "mine", "--out", str(out), "--n-envs", "4")
    assert shipped.returncode == 0, shipped.stderr
    controller = load_controller(out / "mine.safetensors")
    assert controller.card.held_out[0].startswith("mine: ")
    assert controller.world.image_size == 8
    assert "--episodes 8" in controller.card.command
    card = (out / "mine.md").read_text()
    assert all(line in card for line in controller.card.held_out)
    assert load_controller(run).space == controller.space


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    result = call("ship_controller.py", "--run", str(tmp_path), "--name", "mine")
    assert result.returncode == 2
    assert "the folder of a run" in result.stderr
