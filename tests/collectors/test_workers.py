"""Workers: the same batches wherever they run, exact resume, and a lost worker ends the run with which and why."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

import pytest
import torch
from torchrl.envs import EnvBase

from tamiyo_trl import keys
from tamiyo_trl.collectors.workers import make_workers
from tamiyo_trl.envs import RecallEnv
from tamiyo_trl.errors import ConfigError, WorkerError
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import ActorCritic, make_actor_critic
from tests.objectives.helpers import SMALL

LEARN = PPOConfig(slice_len=4, epochs=2, minibatches=2, lr=1e-2)


def recall(seed: int) -> RecallEnv:
    return RecallEnv(SMALL, n_envs=2, seed=seed)


def policy() -> ActorCritic:
    return make_actor_critic(recall(0), "lstm", hidden_size=8, encoder_size=8, seed=3)


def train(backend: str, batches: int, state: dict | None = None, makers=None, **options):
    """Return the batches of a short training, and where it stood: learner and workers."""
    actor_critic = policy()
    learner = PPOLearner(actor_critic, LEARN, seed=1)
    makers = makers or [partial(recall, 5), partial(recall, 6)]
    workers = make_workers(makers, actor_critic, 32, 32 * 100, seed=7, backend=backend, **options)
    try:
        if state is not None:
            learner.load_state_dict(state["learner"])
            workers.load_state(state["workers"])
        found = []
        for batch in workers:
            learner.update(batch)
            found.append(batch.clone())
            if len(found) == batches:
                break
        return found, {"learner": learner.state_dict(), "workers": workers.state()}
    finally:
        workers.shutdown()


@pytest.mark.slow
def test_processes_give_the_batches_of_one_process_to_the_last_update():
    inline, _ = train("inline", 4)
    apart, _ = train("processes", 4)
    assert inline[0].batch_size == (2, 2, 8)
    for mine, other in zip(inline, apart, strict=True):
        assert set(mine.keys(True, True)) == set(other.keys(True, True))
        for key in mine.keys(True, True):
            torch.testing.assert_close(mine[key], other[key])


def test_workers_draw_from_streams_of_their_own():
    batches, _ = train("inline", 1, makers=[partial(recall, 5), partial(recall, 5)])
    first, second = batches[0]
    torch.testing.assert_close(first[keys.OBSERVATION][:, 0], second[keys.OBSERVATION][:, 0])  # the same hosts
    assert not torch.equal(first[keys.ACTION], second[keys.ACTION])  # other draws


@pytest.mark.slow
@pytest.mark.parametrize("backends", [("inline", "inline"), ("processes", "processes"), ("inline", "processes")])
def test_a_resumed_run_goes_on_exactly(backends):
    whole, _ = train("inline", 4)
    _, state = train(backends[0], 2)
    rest, _ = train(backends[1], 2, state)
    for mine, other in zip(whole[2:], rest, strict=True):
        for key in mine.keys(True, True):
            torch.testing.assert_close(mine[key], other[key])


def test_another_number_of_workers_is_refused_on_resume():
    _, state = train("inline", 1)
    with pytest.raises(ConfigError, match="started with 2 workers and cannot go on with 1"):
        train("inline", 1, state, makers=[partial(recall, 5)])


class Broken(RecallEnv):
    """Does something dreadful at its tenth step."""

    def __init__(self, deed: str) -> None:
        super().__init__(SMALL, n_envs=2, seed=0)
        self._deed, self._steps = deed, 0

    def _step(self, tensordict):
        self._steps += 1
        if self._steps == 10:
            if self._deed == "raise":
                raise ValueError("the tenth step is cursed")
            if self._deed == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._deed == "hang":
                time.sleep(3600)
        return super()._step(tensordict)


def refuse() -> EnvBase:
    raise ValueError("no environment today")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("raise", "worker 1 of 2 failed: ValueError: the tenth step is cursed"),
        ("die", "worker 1 of 2 died"),
        ("hang", "worker 1 of 2 took longer than 3 s for a batch"),
    ],
)
def test_a_lost_worker_ends_the_run_with_which_and_why(deed, said):
    began = time.monotonic()
    with pytest.raises(WorkerError, match=said):
        train("processes", 5, makers=[partial(recall, 5), partial(Broken, deed)], timeout=3.0)
    assert torch.multiprocessing.active_children() == []
    assert time.monotonic() - began < 120


@pytest.mark.slow
def test_a_worker_that_cannot_be_built_says_why():
    with pytest.raises(WorkerError, match="worker 1 of 2 failed: ValueError: no environment today"):
        train("processes", 1, makers=[partial(recall, 5), refuse])
    assert torch.multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("makers", "frames", "backend", "said"),
    [
        ([], 32, "inline", "at least one environment maker"),
        ([partial(recall, 1)] * 3, 32, "inline", "a multiple of the workers: 32, 3"),
        ([partial(recall, 1)], 32, "cluster", "backend must be inline or processes, got 'cluster'"),
        ([partial(recall, 1)], 33, "inline", "frames_per_batch must be a multiple of the environments"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(makers, frames, backend, said):
    with pytest.raises(ConfigError, match=said):
        make_workers(makers, policy(), frames, frames * 2, backend=backend)


def test_a_timeout_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="timeout must be positive, got 0"):
        make_workers([partial(recall, 1)], policy(), 32, 64, timeout=0)
