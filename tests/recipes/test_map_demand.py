"""The demand study as a user meets it: what it writes, that it goes on where it stopped, what it refuses."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tamiyo_trl.studies.demand import measure
from tamiyo_trl.studies.demand.measure import BOUNDS, READERS
from tests.recipes.loading import load_recipe

TOY = [
    *("--world", "duds-keep1", "--sizes.tuning-hosts", "8", "--sizes.log-episodes", "16", "--sizes.hosts", "8"),
    *("--sizes.n-envs", "8", "--env.image-size", "8", "--env.episode-steps", "10", "--env.observation", "minimal"),
    *("--lessons.episodes", "8", "--lessons.seeds", "1", "--lessons.hidden-size", "16"),
    *("--env.training.images-per-step", "32", "--env.splits.train", "64", "--env.splits.val", "16"),
    *("--env.splits.test", "32", "--env.splits.reward", "16", "--env.blueprints", "norm", "wide", "--env.sites", "0"),
]


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("map_demand")


@pytest.fixture(scope="module")
def measured(recipe, tmp_path_factory) -> Path:
    """A finished study of a toy world; the folder of all worlds."""
    out = tmp_path_factory.mktemp("demand")
    assert recipe.main(["--out", str(out), *TOY]) == 0
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_study_leaves_a_page_a_picture_and_tidy_tables(measured):
    folder = measured / "duds-keep1"
    assert (folder / "demand.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "README.md").read_text()
    names = [*BOUNDS, *READERS.values()]
    for name in (*names, "good seed", "episode so far", "recipes/map_demand.py --out"):
        assert name in page
    assert "$" not in page  # the template is filled
    played = rows(folder / "scripts.csv")
    assert [row["controller"] for row in played] == [name for name in names for _ in range(8)]
    hosts = {tuple(row["host"] for row in played if row["controller"] == name) for name in names}
    assert len(hosts) == 1  # every script met the same hosts
    assert all(int(row["fossilized"]) <= 1 for row in played)  # one may be kept
    assert not set(next(iter(hosts))) & {row["host"] for row in rows(measured / "plans-duds" / "plans.csv")}
    found = {row["quantity"]: float(row["mean"]) for row in rows(folder / "demand.csv")}
    mean = {
        name: sum(float(row["final_accuracy"]) for row in played if row["controller"] == name) / 8 for name in names
    }
    assert {name: found[name] for name in names} == pytest.approx(mean, abs=1e-4)
    one, history = READERS.values()
    assert found["episode so far over one observation"] == pytest.approx(mean[history] - mean[one], abs=1e-4)
    taught = rows(folder / "students.csv")
    assert [row["controller"] for row in taught] == ["student mlp 0"] * 8 + ["student lstm 0"] * 8
    assert {tuple(row["host"] for row in taught[first : first + 8]) for first in (0, 8)} == hosts
    mlp, lstm = (sum(float(row["final_accuracy"]) for row in taught[first : first + 8]) / 8 for first in (0, 8))
    assert found["students: lstm over mlp"] == pytest.approx(lstm - mlp, abs=1e-4)
    read = rows(folder / "readability.csv")
    assert {(row["fact"], row["view"]) for row in read} == {
        (fact, view) for fact in ("deficit", "good seed") for view in ("one observation", "episode so far")
    }


@pytest.mark.slow
def test_called_again_it_plays_nothing_and_says_the_same(recipe, measured, monkeypatch):
    folder = measured / "duds-keep1"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".csv", ".md")}
    monkeypatch.setattr(measure, "rollout_episodes", None)
    assert recipe.main(["--out", str(measured), *TOY]) == 0
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_a_stopped_study_plays_only_what_is_missing(recipe, measured, monkeypatch):
    path = measured / "duds-keep1" / "scripts.csv"
    whole = path.read_text()
    kept = whole.splitlines(keepends=True)[: 1 + 8 * 6]
    path.write_text("".join(kept))
    played, real = [], measure.rollout_episodes
    monkeypatch.setattr(measure, "rollout_episodes", lambda *args, **more: played.append(args) or real(*args, **more))
    assert recipe.main(["--out", str(measured), *TOY]) == 0
    assert len(played) == 1
    assert path.read_text() == whole


@pytest.mark.slow
def test_other_settings_are_refused_in_the_same_folder(recipe, measured, capsys):
    assert recipe.main(["--out", str(measured), *TOY, "--sizes.hosts", "16"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--world", "heaven"], "a world must be one of mixed, .*; got 'heaven'"),
        (["--sizes.hosts", "33"], "hosts must be a multiple of n_envs 32, got 33"),
    ],
)
def test_what_cannot_be_measured_is_refused(recipe, tmp_path, capsys, wrong, message):
    try:
        status = recipe.main(["--out", str(tmp_path / "new"), *wrong])
    except SystemExit as exit:
        status = exit.code
    said = capsys.readouterr()
    assert status == 2
    assert re.search(message, " ".join((said.err + said.out).split()))
    assert not (tmp_path / "new").exists()
