"""The recall recipe as a user meets it: what it writes and what it refuses."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

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
    again = call("--out", str(out), *TOY)
    assert again.returncode == 2
    assert "not an empty folder" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "20"], "window must lie in 2..6"),
        (["--ppo.slice-len", "0"], "slice_len must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, arguments, message):
    result = call("--out", str(tmp_path / "out"), *TOY, *arguments)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")
    assert message in result.stderr
    assert not (tmp_path / "out").exists()
