"""Every shape of environment, every memory: the update sees the policy that collected, and trains it."""

from __future__ import annotations

import pytest
import torch
from torchrl.envs import TransformedEnv

from tamiyo_trl.objectives import PPOConfig, PPOLearner, check_ratio
from tamiyo_trl.policies import make_actor_critic
from tests.objectives.helpers import collect
from tests.policies.zoo import KINDS, Kind, ZooEnv


def name(kind: Kind) -> str:
    return f"{list(kind.batch)}-{kind.action}-{kind.mask}"


CASES = [(kind, "lstm") for kind in KINDS] + [
    (kind, memory) for kind in KINDS[:4] for memory in ("gru", "mlp", "frames")
]


@pytest.mark.parametrize(("kind", "memory"), CASES, ids=[f"{name(kind)}-{memory}" for kind, memory in CASES])
def test_every_environment_is_checked_and_learned_from(kind, memory):
    raw = ZooEnv(kind)
    actor_critic = make_actor_critic(raw, memory, hidden_size=8, encoder_size=8)
    env = TransformedEnv(raw, actor_critic.transforms())
    report = check_ratio(actor_critic, env, steps=12, slice_len=5)
    assert report.ok, report
    assert report.rows == max(1, torch.Size(kind.batch).numel())
    learner = PPOLearner(actor_critic, PPOConfig(slice_len=5, epochs=2, minibatches=1, lr=1e-2, refresh="epoch"))
    before = [parameter.detach().clone() for parameter in actor_critic.parameters()]
    for seed in range(2):
        batch = collect(actor_critic, env, 9, seed)
        assert batch.shape == (*kind.batch, 9)
        assert learner.update(batch)["ppo/ratio_error_first"] < 1e-5
    assert not all(torch.equal(old, new) for old, new in zip(before, actor_critic.parameters()))
