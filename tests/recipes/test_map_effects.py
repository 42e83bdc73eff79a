"""The map of effects as a user meets it: what it writes, that it goes on where it stopped, what it refuses."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tyro

from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.errors import RunFolderError
from tamiyo_trl.studies.effects.file import COLUMNS, read_measured, write_measured

ROOT = Path(__file__).parents[2]
TOY = [
    *("--env.image-size", "8", "--env.episode-steps", "10", "--env.training.images-per-step", "64"),
    *("--env.splits.train", "128", "--env.splits.test", "64", "--env.splits.val", "16", "--hosts", "2"),
    *("--arms", "norm@0", "wide@2", "--deficits", "contrast", "noisy labels"),
]


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("map_recipe", ROOT / "recipes" / "map_effects.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def mapped(recipe, tmp_path_factory) -> Path:
    """A finished map of three choices under two deficits on two hosts."""
    folder = tmp_path_factory.mktemp("maps") / "map"
    assert recipe.main(["--out", str(folder), *TOY]) == 0
    return folder


def test_a_map_leaves_a_row_per_deficit_choice_and_host_a_picture_and_a_page(mapped):
    deficits, arms = ("contrast", "noisy labels"), ("never-grow", "norm@0", "wide@2")
    assert set(read_measured(mapped)) == {(deficit, arm) for deficit in deficits for arm in arms}
    assert len((mapped / "effects.csv").read_text().splitlines()) == 1 + 2 * 3 * 2
    assert sorted(path.name for path in mapped.iterdir()) == [
        "README.md",
        "effects.csv",
        "effects.png",
        "settings.json",
    ]
    assert (mapped / "effects.png").read_bytes().startswith(b"\x89PNG")
    page = (mapped / "README.md").read_text()
    for text in (
        "contrast",
        "noisy labels",
        "| norm@0 |",
        "| wide@2 |",
        "oracle over never-grow",
        "recipes/map_effects.py",
    ):
        assert text in page


def test_choices_meet_the_same_hosts_and_are_measured(mapped):
    found = read_measured(mapped)
    assert len({tuple(columns["host_seed"]) for columns in found.values()}) == 1
    assert found["contrast", "never-grow"]["added_parameters"] == [0, 0]
    assert found["contrast", "norm@0"]["added_parameters"] == [17, 17]  # 2 * 8 + 1
    assert found["noisy labels", "norm@0"]["dead_share"] == found["contrast", "wide@2"]["dead_share"]
    assert all(0 < value < 1 for columns in found.values() for value in columns["final_accuracy"])
    assert len({tuple(columns["final_accuracy"]) for columns in found.values()}) > 3


def test_the_page_charges_the_rent_of_the_gain_reward(recipe, mapped):
    args = tyro.cli(recipe.Args, args=["--out", str(mapped), *TOY])
    effects = recipe.collect(args)
    columns = read_measured(mapped)["contrast", "wide@2"]
    # wide at 32 channels: 36 * 32^2 + 8 * 32 + 4 * 32^2 = 41,216 parameters.
    assert columns["added_parameters"][0] == 41_216
    rent = GrowthConfig().rewards.rent * np.log(1 + 41_216 / columns["host_parameters"][0])
    np.testing.assert_allclose(effects.net[0, 2], np.array(columns["final_accuracy"]) - rent)


def test_a_finished_map_is_not_measured_again_and_a_missing_choice_alone_is(recipe, mapped, monkeypatch):
    before = read_measured(mapped)
    played = []
    real = recipe.episodes
    monkeypatch.setattr(recipe, "episodes", lambda *a, **k: played.append(a[1:3]) or real(*a, **k))
    assert recipe.main(["--out", str(mapped), *TOY]) == 0
    assert played == []
    write_measured(mapped, {at: columns for at, columns in before.items() if at != ("contrast", "norm@0")})
    assert recipe.main(["--out", str(mapped), *TOY]) == 0
    assert played == [("contrast", "norm@0")]
    assert read_measured(mapped) == before


def test_a_map_grows_by_more_hosts_and_keeps_the_first(recipe, mapped, tmp_path):
    folder = tmp_path / "grown"
    shutil.copytree(mapped, folder)
    few = TOY[:-1]
    assert recipe.main(["--out", str(folder), *few, "--hosts", "3"]) == 0
    old, new = (read_measured(place)["contrast", "norm@0"] for place in (mapped, folder))
    assert len(new["host_seed"]) == 3
    for name in old:
        assert new[name][:2] == old[name]
    assert len(set(new["host_seed"])) == 3


def test_stopping_leaves_whole_files_only(recipe, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        if args[2] == "wide@2":
            raise KeyboardInterrupt
        return {name: [1, 1] for name in COLUMNS}

    monkeypatch.setattr(recipe, "episodes", stop)
    assert recipe.main(["--out", str(tmp_path / "stopped"), *TOY]) == 130
    assert set(read_measured(tmp_path / "stopped")) == {("contrast", "never-grow"), ("contrast", "norm@0")}
    assert not (tmp_path / "stopped" / "README.md").exists()


def said(recipe: ModuleType, capsys, *arguments: str) -> str:
    try:
        status = recipe.main(list(arguments))
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arms", "norm@7"), "arms must be of norm@0, .*; got 'norm@7'"),
        (("--deficits", "sad"), "the deficit of family 'mixed' must be one of contrast, .*; got 'sad'"),
        (("--hosts", "1"), "hosts must be at least 2, got 1"),
        (("--plant-at", "30"), "plant_at must leave a seed its life: 0..18, got 30"),
        (("--env.task", "faces"), "task must be one of"),
        (("--env.image-size", "9"), "image sizes"),
        (("--env.family", "odd"), "family must be one of"),
    ],
)
def test_bad_input_is_refused_in_one_line(recipe, capsys, tmp_path, arguments, message):
    assert re.search(message, said(recipe, capsys, "--out", str(tmp_path / "x"), *arguments))
    assert not (tmp_path / "x").exists()


def test_a_folder_of_another_map_is_left_alone(recipe, mapped, capsys):
    before = (mapped / "settings.json").read_text()
    assert "holds a map with other settings" in said(recipe, capsys, "--out", str(mapped), *TOY, "--seed", "5")
    assert (mapped / "settings.json").read_text() == before


def test_a_broken_results_file_is_named(recipe, mapped, tmp_path):
    shutil.copytree(mapped, tmp_path / "broken")
    (tmp_path / "broken" / "effects.csv").write_text("deficit,choice,host_seed\ncontrast,norm@0,1")
    args = tyro.cli(recipe.Args, args=["--out", str(tmp_path / "broken"), *TOY])
    with pytest.raises(RunFolderError, match="effects.csv is no results file of a map"):
        recipe.measure(args)
