"""The POPGym recipe as a user meets it: what it writes, refuses and resumes; skipped where POPGym is not installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytest.importorskip("popgym")

ROOT = Path(__file__).parents[2]
TOY = [*("--frames", "130", "--n-envs", "2", "--steps", "64", "--hidden-size", "8", "--encoder-size", "8")]
TOY += ["--ppo.minibatches", "2"]


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    """The recipe as a module."""
    spec = importlib.util.spec_from_file_location("train_popgym_recipe", ROOT / "recipes" / "train_popgym.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_run_is_a_file_and_a_finished_one_is_not_run_again(recipe, tmp_path):
    arguments = ["--out", str(tmp_path), "--env", "RepeatPreviousEasy", "HigherLowerEasy", "--seeds", "0", "1", *TOY]
    assert recipe.main(arguments) == 0
    files = sorted(tmp_path.glob("lstm/*/seed_*.json"))
    assert len(files) == 4
    record = json.loads(files[-1].read_text())
    assert record["env"] == "RepeatPreviousEasy"
    assert record["seed"] == 1
    assert record["frames"] == 128
    episodes, late = sum(point[1] for point in record["curve"]), record["curve"][-1]
    assert episodes == 2  # a deck holds 52 cards: one episode ends in each environment
    assert record["return"] == late[2]
    assert "| RepeatPreviousEasy | " in (tmp_path / "results.md").read_text()
    before = [path.stat().st_mtime_ns for path in files]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "report", lambda out, console: None)
        assert recipe.main(arguments) == 0
    assert [path.stat().st_mtime_ns for path in files] == before


@pytest.fixture
def without_report(recipe, monkeypatch):
    """Runs end without the page, which takes a process of its own."""
    monkeypatch.setattr(recipe, "report", lambda out, console: None)


@pytest.mark.usefixtures("without_report")
def test_the_same_seed_gives_the_same_curve(recipe, tmp_path):
    for folder in ("one", "two"):
        assert recipe.main(["--out", str(tmp_path / folder), "--seeds", "3", *TOY]) == 0
    one, two = (json.loads(next((tmp_path / name).glob("*/*/*.json")).read_text()) for name in ("one", "two"))
    assert one["curve"] == two["curve"]


@pytest.mark.parametrize("name", ["BattleshipEasy", "AutoencodeEasy", "PositionOnlyCartPoleEasy", "CountRecallEasy"])
def test_environments_of_every_form_are_served_as_flat_floats(recipe, name):
    env = recipe.make_env(name, 2, seed=0)
    shown = env.rollout(5, break_when_any_done=False)["observation"]
    assert shown.dtype == torch.float32
    assert shown.shape[:2] == (2, 5)
    assert shown.ndim == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "Nowhere"], "unknown POPGym environment 'Nowhere'"),
        (["--env", "PositionOnlyPendulumEasy"], "has continuous actions"),
        (["--label", "a/b"], "label must be a plain folder name"),
        (["--frames", "3"], "frames must hold one batch of 128: 3"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(recipe, tmp_path, capsys, arguments, message):
    assert recipe.main(["--out", str(tmp_path / "out"), *TOY, *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_report")
def test_runs_of_other_settings_are_not_mixed(recipe, tmp_path, capsys):
    arguments = ["--out", str(tmp_path), "--seeds", "0", *TOY]
    assert recipe.main(arguments) == 0
    assert recipe.main([*arguments, "--env", "RepeatFirstEasy", "--ppo.lr", "0.1"]) == 2
    assert "is of other settings (lr): choose another --label" in capsys.readouterr().err


def test_a_privileged_critic_is_shown_the_full_state_beside_what_the_policy_sees(recipe):
    env = recipe.make_env("PositionOnlyCartPoleEasy", 2, seed=0, shows_state=True)
    shown = env.reset()
    assert shown["privileged"].shape == (2, 4)
    assert shown["observation"].shape[-1] < 2 + 4
    torch.testing.assert_close(shown["privileged"][:, [0, 2]], shown["observation"][:, :2])
    after = env.rand_step(shown)["next"]
    torch.testing.assert_close(after["privileged"][:, [0, 2]], after["observation"][:, :2])
    assert (after["privileged"] != shown["privileged"]).all()
