"""Tables of runs: what is folded reads back as it was written, once, whoever was stopped in between."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tamiyo_trl.studies.tables import RunKey, Tables, fold_references, rows_as_written


def run_folder(folder: Path, number: int, columns: str = "episodes,growth/culled") -> Path:
    """Write the files of a run whose numbers are all `number`."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"plan": {"seed": number}}))
    (folder / "training.json").write_text(json.dumps({"episodes": number}))
    values = ",".join([str(number)] * (columns.count(",") + 1))
    (folder / "curve.csv").write_text(f"{columns}\n{values}\n")
    for name in ("held_out", "mode"):
        (folder / f"{name}.csv").write_text(f"seed,deficit\n{number},1\n{number + 10},\n")
    (folder / "ablation.json").write_text(json.dumps({"reset at 4": {str(number): 0.123456}}))
    return folder


@pytest.mark.parametrize("name", ["lstm-minimal/seed_3", "mlp-minimal/lr-3e-3/seed_901", "never-grow"])
def test_a_key_says_its_name(name):
    assert RunKey.named(name).name == name


def test_what_is_folded_reads_back_as_it_was_written(tmp_path):
    names = ("lstm-minimal/seed_0", "mlp-minimal/seed_1")
    runs = {name: run_folder(tmp_path / name, number) for number, name in enumerate(names)}
    tables = Tables(tmp_path / "study")
    tables.fold(runs)
    assert list(tables.runs) == [("lstm-minimal", "", "0"), ("mlp-minimal", "", "1")]
    second = RunKey.named(names[1])
    assert tables.runs[second] == {"plan": {"seed": 1}, "episodes": 1}
    rows = rows_as_written("episodes", tables.rows("episodes", second, "mode"))
    assert rows == [{"seed": "1", "deficit": "1"}, {"seed": "11", "deficit": ""}]
    assert tables.rows("ablations", second) == [
        {"disturbance": "reset at 4", "host": "1", "final_accuracy": "0.123456"}
    ]


def test_a_curve_has_the_columns_that_its_run_had(tmp_path):
    tables = Tables(tmp_path / "study")
    tables.fold(
        {"a-x/seed_0": run_folder(tmp_path / "a", 0), "b-x/seed_0": run_folder(tmp_path / "b", 2, "episodes,more")}
    )
    assert {name: values.tolist() for name, values in tables.curve(RunKey("b-x", "", "0")).items()} == {
        "episodes": [2.0],
        "more": [2.0],
    }
    assert np.array_equal(tables.curve(RunKey("a-x", "", "0"))["growth/culled"], [0.0])


def test_a_run_is_folded_once_and_two_studies_may_share_a_folder(tmp_path):
    first, second = Tables(tmp_path / "study"), Tables(tmp_path / "study")
    assert second.runs == {}
    one, other = run_folder(tmp_path / "one", 0), run_folder(tmp_path / "other", 1)
    first.fold({"a-x/seed_0": one})
    second.fold({"a-x/seed_0": one, "a-x/seed_1": other})
    tables = Tables(tmp_path / "study")
    assert len(tables.runs) == 2
    assert len((tmp_path / "study" / "episodes.csv").read_text().splitlines()) == 1 + 2 * 4
    before = (tmp_path / "study" / "episodes.csv").read_bytes()
    tables.fold({"a-x/seed_0": one})
    assert (tmp_path / "study" / "episodes.csv").read_bytes() == before


def test_rows_of_a_fold_that_was_killed_are_dropped(tmp_path):
    """Killed before runs.json was written: the rows are there, the run is not, and folding it again doubles nothing."""
    one, other = run_folder(tmp_path / "one", 0), run_folder(tmp_path / "other", 1)
    tables = Tables(tmp_path / "study")
    tables.fold({"a-x/seed_0": one})
    known = (tmp_path / "study" / "runs.json").read_text()
    tables.fold({"a-x/seed_1": other})
    whole = {path.name: path.read_bytes() for path in (tmp_path / "study").iterdir()}
    (tmp_path / "study" / "runs.json").write_text(known)
    again = Tables(tmp_path / "study")
    assert list(again.runs) == [("a-x", "", "0")]
    again.fold({"a-x/seed_1": other})
    assert {path.name: path.read_bytes() for path in (tmp_path / "study").iterdir()} == whole


def test_controllers_that_do_not_learn_have_no_seed(tmp_path):
    (tmp_path / "never-grow.csv").write_text("seed,deficit\n5,1\n")
    (tmp_path / "never-grow-decisions.csv").write_text("episode,op\n5,2\n")
    tables = Tables(tmp_path / "study")
    fold_references(tables, tmp_path)
    (key,) = tables.runs
    assert key == ("never-grow", "", "")
    assert tables.rows("decisions", key) == [{"exam": "held_out", "host": "5", "op": "2"}]
