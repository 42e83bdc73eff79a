from __future__ import annotations

import csv
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_trl.errors import RunFolderError
from tamiyo_trl.training import TableLogger


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@given(values=st.lists(st.floats(allow_nan=False), min_size=1, max_size=5))
def test_floats_are_read_back_exactly(values, tmp_path_factory):
    table = TableLogger("metrics", tmp_path_factory.mktemp("t"))
    for step, value in enumerate(values):
        table.log_metrics({"loss/value": value}, step)
    assert [float(row["loss/value"]) for row in read(table.experiment)] == values


def test_a_metric_without_a_value_is_an_empty_field_and_a_late_one_adds_a_column(tmp_path):
    table = TableLogger("metrics", tmp_path)
    table.log_metrics({"a": 1.0, "b": math.nan}, 1)
    table.log_metrics({"a": 2.0, "c": 3.0}, 2)
    assert (tmp_path / "metrics.csv").read_text().split() == ["step,a,b,c", "1,1.0,,", "2,2.0,,3.0"]


def test_trimming_drops_later_rows_torn_lines_and_later_columns(tmp_path):
    table = TableLogger("metrics", tmp_path)
    table.log_metrics({"a": 1.0, "b": math.nan}, 1)
    columns = table.columns
    before = (tmp_path / "metrics.csv").read_bytes()
    table.log_metrics({"a": 2.0, "c": 3.0}, 2)
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("3,0.12")  # killed while writing
    reopened = TableLogger("metrics", tmp_path)
    reopened.trim(1, columns)
    assert (tmp_path / "metrics.csv").read_bytes() == before
    reopened.log_metrics({"a": 2.0, "b": 5.0}, 2)
    assert read(reopened.experiment)[1] == {"step": "2", "a": "2.0", "b": "5.0"}


def test_trimming_to_a_row_that_is_missing_is_refused(tmp_path):
    table = TableLogger("metrics", tmp_path)
    table.log_metrics({"a": 1.0}, 1)
    with pytest.raises(RunFolderError, match="lacks the row of step 2"):
        table.trim(2, table.columns)


def test_trimming_to_the_start_empties_the_table(tmp_path):
    table = TableLogger("metrics", tmp_path)
    columns = table.columns
    table.log_metrics({"a": 1.0}, 1)
    table.trim(0, columns)
    assert read(table.experiment) == []


def test_the_table_is_a_torchrl_logger(tmp_path):
    table = TableLogger("metrics", tmp_path)
    table.log_scalar("a", 1.5, step=4)
    assert read(table.experiment) == [{"step": "4", "a": "1.5"}]
    with pytest.raises(ValueError, match="needs its step"):
        table.log_metrics({"a": 1.0})
    with pytest.raises(NotImplementedError):
        table.log_histogram("a", [1.0])
