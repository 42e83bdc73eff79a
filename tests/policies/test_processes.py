"""Actor-critics serve environments and collectors in processes of their own."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torchrl.collectors import MultiSyncCollector
from torchrl.envs import ParallelEnv, TransformedEnv

from tamiyo_trl import keys
from tamiyo_trl.objectives import PPOLearner
from tamiyo_trl.policies import make_actor_critic
from tests.policies.zoo import LEARN, SMALL, Kind, ZooEnv, lively, recomputed, rollout

pytestmark = pytest.mark.slow


def make_parallel() -> ParallelEnv:
    return ParallelEnv(2, [partial(ZooEnv, Kind(mask="independent"), seed) for seed in (1, 2)])


def test_parallel_environments_are_served() -> None:
    env = make_parallel()
    try:
        actor_critic = lively(make_actor_critic(env, "lstm", **SMALL))
        batch = rollout(env, actor_critic, 12)
        assert batch.batch_size == (2, 12)
        log_prob, _, _ = recomputed(actor_critic, batch)
        torch.testing.assert_close(log_prob, batch[keys.LOG_PROB], rtol=0, atol=1e-5)
        metrics = PPOLearner(actor_critic, LEARN).update(batch)
        assert metrics["ppo/max_ratio_first"] == pytest.approx(1.0, abs=1e-5)
    finally:
        env.close()


def make_wrapped() -> TransformedEnv:
    env = ZooEnv(Kind((2,), "multi", "joint", (2, 3)))
    return TransformedEnv(env, make_actor_critic(env, "gru", **SMALL).transforms())


def test_several_collector_processes_are_served() -> None:
    actor_critic = lively(make_actor_critic(ZooEnv(Kind((2,), "multi", "joint", (2, 3))), "gru", **SMALL))
    collector = MultiSyncCollector(
        [make_wrapped, make_wrapped], actor_critic.collection_policy(), frames_per_batch=48, total_frames=96
    )
    try:
        learner = PPOLearner(actor_critic, LEARN)
        for batch in collector:
            metrics = learner.update(batch)
            assert metrics["ppo/max_ratio_first"] == pytest.approx(1.0, abs=1e-5)
            collector.update_policy_weights_()
    finally:
        collector.shutdown()
    assert learner.frames == 96
