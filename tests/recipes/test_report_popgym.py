"""The POPGym report: what it reads from files of runs, worked by hand."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    """The recipe as a module."""
    spec = importlib.util.spec_from_file_location("report_popgym_recipe", ROOT / "recipes" / "report_popgym.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def put(folder: Path, label: str, env: str, seed: int, value: float, *, frames: int = 300, **settings) -> None:
    """Write the file of one run."""
    path = folder / label / env / f"seed_{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    curve = [[200, 1, value / 2], [300, 3, value]]
    record = {"env": env, "seed": seed, "return": value, "frames": frames, "parameters": 7, "cpu_seconds": 10 * seed}
    path.write_text(json.dumps(record | {"settings": settings, "curve": curve}))


def test_the_page_has_a_table_per_length_and_says_how_labels_differ(recipe, tmp_path):
    put(tmp_path, "lstm", "B", 1, 0.5, lr=1, ppo={"slice_len": 8})
    put(tmp_path, "lstm", "B", 2, 1.0, lr=1, ppo={"slice_len": 8})
    put(tmp_path, "lstm", "A", 1, -0.25, lr=1, ppo={"slice_len": 8})
    put(tmp_path, "mlp", "B", 1, 0.0, lr=1, memory="mlp", ppo={"slice_len": 8})
    put(tmp_path, "cut", "B", 1, 0.25, lr=1, ppo={"slice_len": 4})
    put(tmp_path, "short", "B", 1, 0.125, frames=200, lr=1, ppo={"slice_len": 8})
    published = {"source": "Told by them.", "columns": {"theirs": {"B": 0.75}}}
    (tmp_path / "published.json").write_text(json.dumps(published))
    assert recipe.main([str(tmp_path)]) == 0
    page = (tmp_path / "results.md").read_text().splitlines()
    assert "| environment | lstm | mlp | theirs |" in page
    assert "| A | -0.250 (n = 1) |  |  |" in page
    assert "| B | 0.750 (0.500 to 1.000; n = 2) | 0.000 (n = 1) | 0.750 |" in page
    assert "Told by them." in page
    assert "| environment | short |" in page
    assert page.index("## Runs of 300 frames") < page.index("## Runs of 200 frames")
    assert "| lstm | 300 | (what the others are compared with) | 7 | 13 (n = 3) |" in page  # (10 + 20 + 10) / 3
    assert "| mlp | 300 | memory = mlp | 7 | 10 (n = 1) |" in page
    assert "| cut | 300 | ppo.slice_len = 4 | 7 | 10 (n = 1) |" in page
    assert "| short | 200 |  | 7 | 10 (n = 1) |" in page
    variants = page.index("Variants of the settings:")
    assert page[variants + 2 : variants + 6] == [
        "| label | B |",
        "| --- | --- |",
        "| lstm | 0.750 (0.500 to 1.000; n = 2) |",
        "| cut | 0.250 (n = 1) |",
    ]
    pictures = [tmp_path / f"curves_{frames}.png" for frames in (300, 200)]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def test_curves_are_means_over_the_episodes_of_the_last_updates(recipe, monkeypatch):
    monkeypatch.setattr(recipe, "WINDOW", 2)
    curve = [(10, 1, 4.0), (20, 3, 0.0), (40, 1, 2.0)]
    # at 10: 4; at 20: (1 * 4 + 3 * 0) / 4 = 1; at 40: (3 * 0 + 1 * 2) / 4 = 0.5; at 30 half way between the two
    np.testing.assert_allclose(recipe.smooth(curve, np.array([10, 20, 30, 40])), [4, 1, 0.75, 0.5])


def test_a_folder_without_runs_is_refused(recipe, tmp_path, capsys):
    assert recipe.main([str(tmp_path)]) == 2
    assert f"no runs in {tmp_path}" in capsys.readouterr().err
