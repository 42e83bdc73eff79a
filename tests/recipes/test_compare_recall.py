"""The recall recipe as a user meets it: what it writes and what it refuses."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
TOY = ["--frames", "100", "--n-envs", "4", "--steps", "12", "--hidden-size", "8"]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "recipes" / "compare_recall.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_every_controller_has_a_line_in_both_tables_and_a_folder(tmp_path):
    out = tmp_path / "out"
    result = call("--out", str(out), *TOY)
    assert result.returncode == 0, result.stderr
    with open(out / "results.csv", newline="") as file:
        table = list(csv.DictReader(file))
    names = ["lstm", "gru", "frames (4)", "mlp", "lstm, reset every 3"]
    assert [row["controller"] for row in table] == names
    assert all(0 <= float(row["late_return"]) <= 1 and int(row["parameters"]) > 100 for row in table)
    text = (out / "results.md").read_text()
    assert all(f"| {name} |" in text for name in names)
    assert "96 frames" in text  # 100 rounded down to two batches of 48
    assert all((out / folder / "metrics.csv").exists() for folder in ("lstm", "gru", "frames", "mlp", "lstm_reset"))


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    """The recipe as a module, for what needs no process of its own."""
    spec = importlib.util.spec_from_file_location("compare_recall_recipe", ROOT / "recipes" / "compare_recall.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "20"], "window must lie in 2..6"),
        (["--ppo.slice-len", "0"], "slice_len must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(recipe, tmp_path, capsys, arguments, message):
    assert recipe.main(["--out", str(tmp_path / "out"), *TOY, *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_written_to(recipe, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    assert recipe.main(["--out", str(tmp_path), *TOY]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
