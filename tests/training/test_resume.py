from __future__ import annotations

import pytest

from tamiyo_trl.errors import CheckpointError, RunFolderError
from tamiyo_trl.training import list_checkpoints, load_checkpoint, train
from tests.training.helpers import config, parts, run
from tests.training.kills import run_with_kills

pytestmark = pytest.mark.slow


def table(directory) -> str:
    return (directory / "metrics.csv").read_text()


def rows(directory) -> int:
    path = directory / "metrics.csv"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize(("memory", "kills", "updates"), [("lstm", 20, 64), ("frames", 2, 8)])
def test_a_run_killed_again_and_again_writes_the_metrics_of_an_uninterrupted_one(tmp_path, memory, kills, updates):
    run(tmp_path / "whole", updates, memory, checkpoint_every=2)
    done = run_with_kills(
        lambda: run(tmp_path / "killed", updates, memory, checkpoint_every=2),
        lambda: rows(tmp_path / "killed"),
        kills=kills,
        seed=1,
    )
    assert done == kills
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
    whole, killed = (load_checkpoint(tmp_path / name / "checkpoints") for name in ("whole", "killed"))
    assert str(whole["learner"]) == str(killed["learner"])


@pytest.mark.parametrize(("memory", "stop_at"), [("lstm", 1), ("lstm", 3), ("gru", 4), ("mlp", 4), ("frames", 4)])
def test_a_run_closed_by_its_user_resumes_exactly_even_between_checkpoints(tmp_path, memory, stop_at):
    run(tmp_path / "whole", 7, memory)
    stopped = train(*parts(memory), config(7), directory=tmp_path / "stopped")
    for _ in range(stop_at):
        next(stopped)
    stopped.close()
    assert load_checkpoint(tmp_path / "stopped" / "checkpoints")["updates"] == stop_at
    resumed = run(tmp_path / "stopped", 7, memory)
    assert len(resumed) == 7 - stop_at
    assert table(tmp_path / "stopped") == table(tmp_path / "whole")


def test_the_seeds_given_when_resuming_do_not_matter(tmp_path):
    run(tmp_path / "whole", 5)
    run(tmp_path / "two", 3)
    list(train(*parts(seed=77), config(5, seed=99), directory=tmp_path / "two", resume=True))
    assert table(tmp_path / "two") == table(tmp_path / "whole")


def test_a_run_can_be_made_longer(tmp_path):
    run(tmp_path / "long", 6)
    run(tmp_path / "short", 4)
    run(tmp_path / "short", 6)
    assert table(tmp_path / "short") == table(tmp_path / "long")


def test_a_finished_run_resumes_to_nothing(tmp_path):
    run(tmp_path, 3)
    before = table(tmp_path)
    assert run(tmp_path, 3) == []
    assert table(tmp_path) == before


def test_a_folder_with_a_run_is_not_overwritten_and_one_without_is_not_resumed(tmp_path):
    run(tmp_path / "run", 1)
    with pytest.raises(RunFolderError, match="already holds a run"):
        train(*parts(), config(2), directory=tmp_path / "run")
    with pytest.raises(RunFolderError, match="holds no run to resume"):
        train(*parts(), config(2), directory=tmp_path / "other", resume=True)
    assert not (tmp_path / "other").exists()


def test_metrics_whose_checkpoints_are_gone_are_not_mixed_with_a_new_run_s(tmp_path):
    run(tmp_path, 1)
    for path in list_checkpoints(tmp_path / "checkpoints"):
        path.unlink()
    with pytest.raises(RunFolderError, match=r"holds a metrics\.csv without a checkpoint"):
        train(*parts(), config(2), directory=tmp_path)


def test_a_run_of_other_settings_is_refused_by_the_setting(tmp_path):
    run(tmp_path, 2)
    with pytest.raises(RunFolderError, match=r"started with lr = 0.003, not 0.1"):
        list(train(*parts(lr=0.1), config(3), directory=tmp_path, resume=True))
    with pytest.raises(RunFolderError, match=r"frames_per_batch = 40, not 80"):
        list(train(*parts(), config(4, frames_per_batch=80), directory=tmp_path, resume=True))


def test_a_checkpoint_of_another_policy_is_refused(tmp_path):
    run(tmp_path, 2)
    with pytest.raises(CheckpointError, match="another policy"):
        list(train(*parts("gru"), config(3), directory=tmp_path, resume=True))


def test_a_truncated_checkpoint_stops_the_resume_and_names_the_one_that_loads(tmp_path):
    run(tmp_path, 6)
    newest, older = list_checkpoints(tmp_path / "checkpoints")[:2]
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"{newest.name}: truncated.*{older.name} still loads"):
        run(tmp_path, 8)
    newest.unlink()
    run(tmp_path, 6)
    run(tmp_path / "whole", 6)
    assert table(tmp_path) == table(tmp_path / "whole")
