"""A person plays an episode at the terminal: sees, acts, is corrected, leaves, and gets the picture."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
TOY = [
    *("--env.episode-steps", "10", "--env.training.images-per-step", "64", "--env.splits.train", "128"),
    *("--env.splits.val", "64", "--env.splits.test", "64"),
]


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("play_recipe", ROOT / "recipes" / "play.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def typing(monkeypatch, *lines: str) -> list[str]:
    """Let the person type these lines, then leave; return what is not typed yet."""
    left = list(lines)

    def answer(prompt: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("builtins.input", answer)
    return left


def test_a_whole_episode_is_played_and_drawn(recipe, monkeypatch, capsys, tmp_path):
    # "b" plants the first blueprint (norm) at site 1; 2 + 3 + 1 epochs later it can be kept.
    left = typing(monkeypatch, "", "b", "", "", "", "", "", "2 fast", "h", "", "f", "", "", "")
    picture = tmp_path / "new" / "timeline.png"
    assert recipe.main(["--out", str(picture), "--seed", "1", *TOY]) == 0
    assert left == []
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert "norm        ██████████ FOSSIL   kept for good" in shown
    assert "'2 fast' is no move now; the keys are" in shown
    assert shown.count("Something") == 2  # the help at the start, and once more by its key
    assert "hidden deficit: " in shown
    assert "in hindsight: " in shown
    assert "you gained " in shown


def test_waiting_throughout_is_never_growing(recipe, monkeypatch, capsys, tmp_path):
    typing(monkeypatch, *[""] * 11)
    assert recipe.main(["--out", str(tmp_path / "t.png"), *TOY]) == 0
    assert "you gained +0.0 points" in capsys.readouterr().out


@pytest.mark.parametrize("lines", [("", "", "q"), ("", ""), ("q",)])
def test_leaving_draws_nothing(recipe, monkeypatch, capsys, tmp_path, lines):
    typing(monkeypatch, *lines)
    assert recipe.main(["--out", str(tmp_path / "t.png"), *TOY]) == 130
    assert "left before the end" in capsys.readouterr().out
    assert not (tmp_path / "t.png").exists()


def test_bad_settings_are_refused_in_one_line(recipe, capsys):
    status = recipe.main(["--env.family", "odd"])
    said = capsys.readouterr().err
    assert status == 2
    assert said.startswith("error: family must be one of")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("here", "out must be a file that ends in one of .png, .pdf, .svg, got"),
        ("folder.png", "out must be a file"),
        ("file/x.png", "out cannot be drawn in"),
    ],
)
def test_a_picture_that_could_not_be_drawn_is_refused_before_anybody_plays(
    recipe, monkeypatch, capsys, tmp_path, place, message
):
    left = typing(monkeypatch, "")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    assert recipe.main(["--out", str(tmp_path / place), *TOY]) == 2
    assert message in capsys.readouterr().err
    assert left == [""]
