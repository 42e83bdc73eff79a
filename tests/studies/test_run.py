"""A study's small files: what is written by hand-worked batches, and which settings may share a folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import pytest
import torch
from tensordict import TensorDict

from tamiyo_trl.errors import RunFolderError
from tamiyo_trl.objectives import PPOConfig
from tamiyo_trl.studies.report.html import self_contained
from tamiyo_trl.studies.run import Run, claim, keep_curve
from tamiyo_trl.training.experiment import RunConfig
from tamiyo_trl.training.summaries import deficit_summary
from tamiyo_trl.training.table import read_metrics
from tests.evaluation.worlds import TINY


def test_deficits_are_counted_where_episodes_ended():
    """Three envs, two steps; envs 0 and 2 end with deficits 1 and 3, env 1 does not end."""
    batch = TensorDict(
        {
            "next": {
                "done": torch.tensor([[0, 1], [0, 0], [0, 1]]).bool()[..., None],
                "info": {
                    "deficit": torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])[..., None],
                    "final_accuracy": torch.tensor([[0.0, 0.25], [0.0, 0.0], [0.0, 0.75]])[..., None],
                },
            }
        },
        [3, 2],
    )
    assert deficit_summary(batch) == {
        "deficit_1/count": 1.0,
        "deficit_1/accuracy": 0.25,
        "deficit_3/count": 1.0,
        "deficit_3/accuracy": 0.75,
    }


def run(tmp_path, **changes) -> Run:
    plan = RunConfig("lstm", 0, 32, 16, env=TINY)
    return Run(dataclasses.replace(plan, **changes), tmp_path / "results", tmp_path / "work")


def test_a_folder_belongs_to_one_plan(tmp_path):
    claim(run(tmp_path))
    claim(run(tmp_path))
    for changes in ({"seed": 1}, {"memory": "mlp"}, {"ppo": PPOConfig(lr=1.0)}):
        with pytest.raises(RunFolderError, match="other settings"):
            claim(run(tmp_path, **changes))


def test_settings_that_an_older_version_did_not_know_do_not_matter(tmp_path):
    claim(run(tmp_path))
    path = tmp_path / "results" / "run.json"
    saved = json.loads(path.read_text())
    del saved["plan"]["env"]["precision"]
    path.write_text(json.dumps(saved))
    claim(run(tmp_path))


def test_settings_of_a_controller_once_had_an_entry_of_their_own(tmp_path):
    claim(run(tmp_path))
    path = tmp_path / "results" / "run.json"
    saved = json.loads(path.read_text())
    scheduled = {name: saved["plan"]["ppo"][name] for name in ("lr", "lr_end", "entropy_coeff", "entropy_end")}
    for lr, refused in ((scheduled["lr"], False), (1.0, True)):
        old = dict(saved["plan"])
        ppo = old.pop("ppo") | {"lr": 3e-4, "entropy_coeff": 0.05}
        old["controller"] = {"hidden_size": old.pop("hidden_size"), **scheduled, "lr": lr, "ppo": ppo}
        path.write_text(json.dumps({"plan": old}))
        with pytest.raises(RunFolderError, match="other settings") if refused else contextlib.nullcontext():
            claim(run(tmp_path))


def test_a_kept_curve_reads_back_with_five_digits(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "step,episode/count,growth/culled,loss/policy,deficit_0/count\n1,16,0.123456789,9,4\n2,16,2,9,\n"
    )
    keep_curve(tmp_path / "metrics.csv", tmp_path / "curve.csv")
    curve = read_metrics(tmp_path / "curve.csv")
    assert set(curve) == {"episodes", "growth/culled", "deficit_0/count"}
    assert curve["episodes"].tolist() == [16, 32]
    assert curve["growth/culled"].tolist() == [0.12346, 2.0]
    assert curve["deficit_0/count"][0] == 4
    assert torch.tensor(curve["deficit_0/count"]).isnan().tolist() == [False, True]


def test_progress_is_read_from_the_tables(tmp_path):
    it = run(tmp_path)
    assert (it.updates, it.updates_done) == (2, 0)
    it.work.mkdir()
    (it.work / "metrics.csv").write_text("step\n1\n")
    assert it.updates_done == 1
    it.results.mkdir()
    (it.results / "curve.csv").write_text("episodes\n")
    assert it.updates_done == 2


def test_a_page_carries_its_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG picture")
    page = self_contained("# Title <1>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![A](a.png)\n", tmp_path)
    assert "<title>Title &lt;1&gt;</title>" in page
    assert '<img src="data:image/png;base64,iVBORyBwaWN0dXJl"' in page
    assert "<td>2</td>" in page
