"""The examples are short, and each does what its last line says it shows."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NUMBER = r"[-+]?\d+\.\d+"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    def _run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return _run


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(NUMBER, text)]


def test_each_fits_on_a_screen():
    files = sorted(EXAMPLES.glob("*.py"))
    assert files
    for path in files:
        assert len(path.read_text().splitlines()) <= 50, path.name


@pytest.mark.slow
def test_an_environment_of_one_s_own_is_learned(run):
    last = run("own_environment").splitlines()[-1]
    assert numbers(last)[0] > 0.9


@pytest.mark.slow
def test_a_memory_of_one_s_own_passes_the_check_and_is_trained(run):
    lines = run("own_memory").splitlines()
    assert lines[0].startswith("ok")
    assert numbers(lines[-1])[0] > 0.9


@pytest.mark.slow
def test_a_deficit_of_one_s_own_is_measured(run):
    lines = run("own_deficit").splitlines()
    assert len(lines) == 4
    for line in lines[1:]:
        mean, low, high = numbers(line)
        assert low <= mean <= high


@pytest.mark.slow
def test_a_reset_memory_earns_less_than_one_left_alone(run):
    alone, reset = (numbers(line)[0] for line in run("reset_memory").splitlines()[-2:])
    assert reset < 0.35 < alone


@pytest.mark.slow
def test_a_fleet_learns_and_one_host_alone_grows(run):
    lines = run("fleet_without_rl").splitlines()
    assert sum(numbers(lines[-2])) > sum(numbers(lines[0])) + 0.5
    counts = re.search(r"\[(.*)\]", lines[-1])[1].split(", ")
    assert int(counts[0]) > 0
    assert set(counts[1:]) == {"0"}


@pytest.mark.slow
def test_a_finished_run_is_loaded_and_compared(run, tmp_path):
    toy = "--env.image-size 8 --env.episode-steps 10 --env.training.images-per-step 64 --n-envs 4 --episodes 4"
    splits = "--env.splits.train 128 --env.splits.val 64 --env.splits.test 64 --eval-episodes 4 --hidden-size 16"
    recipe = EXAMPLES.parent / "recipes" / "train.py"
    command = [sys.executable, str(recipe), "--runs", str(tmp_path), "--name", "toy", *toy.split(), *splits.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = run("evaluate_controller", str(tmp_path / "toy")).splitlines()
    assert [line.split()[0] for line in lines] == ["never-grow", "random-legal", "trained"]
    assert numbers(lines[0])[1:] == [0, 0, 0]


@pytest.mark.slow
def test_a_taught_policy_recalls_and_goes_on_recalling_under_ppo(run):
    for line in run("imitate").splitlines():
        assert numbers(line)[0] > 0.9
