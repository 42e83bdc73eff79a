from __future__ import annotations

import csv
import math
import os
import signal
from functools import partial

import pytest
import torch
from torchrl.envs import TransformedEnv

from tamiyo_trl.envs.recall import RecallConfig, RecallEnv
from tamiyo_trl.errors import ConfigError, NonFiniteError, RunFolderError
from tamiyo_trl.training import TrainConfig, has_run, list_checkpoints, load_checkpoint, train
from tests.training.helpers import ENVS, STEPS, config, parts, run


def test_every_update_yields_flat_metrics_and_one_row(tmp_path):
    found = run(tmp_path, 3)
    assert [metrics["train/updates"] for metrics in found] == [1, 2, 3]
    assert [metrics["train/frames"] for metrics in found] == [40, 80, 120]
    with open(tmp_path / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    for metrics, row in zip(found, table, strict=True):
        assert all(isinstance(value, float) and "/" in name for name, value in metrics.items())
        for name, value in metrics.items():
            if not name.startswith("time/") and not math.isnan(value):
                assert float(row[name]) == value
    assert not any(name.startswith("time/") for name in table[0])
    with open(tmp_path / "timings.csv", newline="") as file:
        assert all(float(row["time/update"]) > 0 for row in csv.DictReader(file))


def test_episode_returns_are_means_over_the_episodes_that_ended():
    batches = []
    env, actor_critic, learner = parts()
    for metrics in train(env, actor_critic, learner, config(6), summaries=[lambda batch: batches.append(batch) or {}]):
        done = batches[-1]["next", "done"]
        returns = batches[-1]["next", "episode_reward"][done].tolist()
        assert metrics["episode/count"] == len(returns)
        assert (
            math.isnan(metrics["episode/return"])
            if not returns
            else (metrics["episode/return"] == pytest.approx(sum(returns) / len(returns)))
        )


def test_a_batch_in_which_no_episode_ends_has_no_return():
    metrics = next(train(*parts(minibatches=1), config(2, frames_per_batch=ENVS * 2, total_frames=ENVS * 4)))
    assert metrics["episode/count"] == 0
    assert math.isnan(metrics["episode/return"])


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(tmp_path):
    tables = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(hash(name) % 1000)
        list(train(*parts(), config(3, seed=seed), directory=tmp_path / name))
        tables.append((tmp_path / name / "metrics.csv").read_bytes())
    assert tables[0] == tables[1] != tables[2]


def test_what_the_caller_draws_between_updates_changes_nothing():
    plain = [metrics["loss/policy"] for metrics in train(*parts(), config(4))]
    drawn = []
    for metrics in train(*parts(), config(4)):
        drawn.append(metrics["loss/policy"])
        torch.manual_seed(3)
        torch.randn(100)
    assert drawn == plain


def test_summaries_are_merged_into_metrics_and_tables(tmp_path):
    def mean_reward(batch):
        return {"summary/reward": float(batch["next", "reward"].mean())}

    (metrics,) = train(*parts(), config(1), directory=tmp_path, summaries=[mean_reward])
    with open(tmp_path / "metrics.csv", newline="") as file:
        assert float(next(csv.DictReader(file))["summary/reward"]) == metrics["summary/reward"]


def test_the_newest_checkpoints_are_kept_and_the_last_update_has_one(tmp_path):
    run(tmp_path, 10, checkpoint_every=2, keep_checkpoints=2)
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == [
        "checkpoint_00000010.pt",
        "checkpoint_00000008.pt",
    ]
    run(tmp_path / "odd", 5, checkpoint_every=3)
    assert load_checkpoint(tmp_path / "odd" / "checkpoints")["updates"] == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_waits_for_the_update_and_leaves_a_checkpoint(tmp_path, number):
    sent = []

    def interrupt(batch):
        if not sent:
            sent.append(os.kill(os.getpid(), number))
        return {}

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup ignores it

    with pytest.raises(KeyboardInterrupt):
        list(train(*parts(), config(5), directory=tmp_path, summaries=[interrupt]))
    signal.signal(signal.SIGINT, before)
    assert load_checkpoint(tmp_path / "checkpoints")["updates"] == 1
    run(tmp_path, 5)
    run(tmp_path / "whole", 5)
    assert (tmp_path / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_a_failing_update_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    env, actor_critic, learner = parts()
    update = learner.update

    def fail_in_the_fifth(batch):
        metrics = update(batch)
        if learner.updates == 5:
            raise NonFiniteError("loss or gradient was not finite")
        return metrics

    monkeypatch.setattr(learner, "update", fail_in_the_fifth)
    with pytest.raises(NonFiniteError):
        list(train(env, actor_critic, learner, config(9), directory=tmp_path))
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "checkpoints")["updates"] == 3
    run(tmp_path, 5)
    run(tmp_path / "whole", 5)
    assert (tmp_path / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_the_environment_stays_usable_after_training():
    env, actor_critic, learner = parts()
    list(train(env, actor_critic, learner, config(1)))
    rollout = TransformedEnv(env, actor_critic.transforms()).rollout(5, actor_critic.policy, break_when_any_done=False)
    assert rollout.shape == (ENVS, 5)


def test_an_environment_already_wrapped_is_not_wrapped_again():
    env, actor_critic, learner = parts()
    wrapped = TransformedEnv(env, actor_critic.transforms())
    assert len(list(train(wrapped, actor_critic, learner, config(2)))) == 2
    assert len(wrapped.transform) == len(actor_critic.transforms())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"total_frames": 0}, "total_frames must be at least 1"),
        ({"frames_per_batch": -5}, "frames_per_batch must be at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1"),
        ({"keep_checkpoints": 0}, "keep_checkpoints must be at least 1"),
        ({"total_frames": 1000, "frames_per_batch": 300}, "1000 is not of 300"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


def test_bad_combinations_are_refused_before_any_work(tmp_path):
    cases = [
        ({}, {"frames_per_batch": ENVS * STEPS + 1, "total_frames": ENVS * STEPS + 1}, {}, "is not of 4"),
        ({"minibatches": 13}, {}, {}, r"13 > 12 \(4 rows of 10 steps in slices of 4\)"),
        ({}, {}, {"resume": True}, "resume needs a directory"),
    ]
    for learner, training, call, message in cases:
        with pytest.raises(ConfigError, match=message):
            train(*parts(**learner), config(1, **training), **call)
    assert list(tmp_path.iterdir()) == []


def test_a_learner_of_another_policy_is_refused():
    env, actor_critic, _ = parts()
    _, _, learner = parts()
    with pytest.raises(ConfigError, match="another actor-critic"):
        train(env, actor_critic, learner, config(1))


def test_tensorboard_that_is_not_installed_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="tensorboard is not installed"):
        train(*parts(), config(1, tensorboard=True), directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def halves() -> list[partial[RecallEnv]]:
    return [partial(RecallEnv, RecallConfig(delay=2, jitter=2), n_envs=ENVS // 2, seed=seed) for seed in (1, 2)]


def test_training_from_workers_resumes_exactly(tmp_path):
    """Inline workers give the numbers of worker processes (tests/collectors/test_workers.py)."""
    for folder, lengths in (("whole", (6,)), ("parts", (2, 6))):
        for length in lengths:
            _, actor_critic, learner = parts()
            resume = has_run(tmp_path / folder)
            where = {"directory": tmp_path / folder, "resume": resume, "backend": "inline"}
            list(train(halves(), actor_critic, learner, config(length), **where))
    assert (tmp_path / "parts" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_a_folder_in_use_is_left_alone(tmp_path):
    running = train(*parts(), config(5), directory=tmp_path)
    next(running)
    with pytest.raises(RunFolderError, match="is being written by another process"):
        next(train(*parts(), config(5), directory=tmp_path, resume=True))
    assert len(list(running)) == 4
