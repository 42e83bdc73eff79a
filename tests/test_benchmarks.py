"""The benchmark runs, and its plain-torch floor computes what the library computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from benchmarks.cartpole import CartPoles
from benchmarks.contestants import build, ppo_config
from benchmarks.floor import Batch, Floor, _gae
from benchmarks.sizes import Sizes
from tamiyo_trl.objectives import PPOLearner
from tamiyo_trl.objectives.advantages import estimate
from tamiyo_trl.training import make_collector
from tests.reference.gae import slow_gae

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SMALL = Sizes(envs=4, steps=32, hidden=8, encoder=8)


def test_the_floor_s_update_equals_the_learner_s_number_for_number():
    env, actor_critic = build(SMALL)
    learner = PPOLearner(actor_critic, ppo_config(SMALL))
    floor = Floor(SMALL)
    networks, pairs = actor_critic.networks, []
    pairs.append((floor.net.encoder, networks.trunks[0].encoder.module[1]))
    pairs.append((floor.net.cell, networks.trunks[0].memory.core.rnn))
    pairs += [(floor.net.value, networks.value.module), (floor.net.logits, networks.logits.module)]
    with torch.no_grad():
        for mine, other in pairs:
            for one, two in zip(mine.parameters(), other.parameters(), strict=True):
                one.copy_(two)
    for batch in make_collector(env, actor_critic, 4 * 32, 3 * 4 * 32):
        found = estimate(batch, actor_critic.critic, learner._value_norm, gamma=0.99, gae_lambda=0.95)
        time_first = batch.transpose(0, 1)
        fields = {
            "observation": time_first["observation"],
            "action": time_first["action"],
            "log_prob": time_first["action_log_prob"],
            "value": time_first["state_value"][..., 0],
            "is_init": time_first["is_init"][..., 0],
            "h": time_first["recurrent_state_h"][::8, :, 0],
            "c": time_first["recurrent_state_c"][::8, :, 0],
            "advantage": found.advantage[..., 0].t(),
            "target": found.target[..., 0].t(),
        }
        floor.generator.set_state(learner._generator.get_state())
        floor.update(Batch(**{name: field.contiguous() for name, field in fields.items()}))
        learner.update(batch)
        assert batch["is_init"][:, 1:].any()
        for mine, other in pairs:
            one, two = parameters_to_vector(mine.parameters()), parameters_to_vector(other.parameters())
            torch.testing.assert_close(one, two, rtol=0, atol=2e-6)
        torch.testing.assert_close(floor.net.mean, actor_critic.normaliser.mean.float())
        torch.testing.assert_close(floor.net.scale, actor_critic.normaliser.scale.float())


def test_the_floor_s_advantages_equal_the_slow_ones_and_its_states_restart():
    floor = Floor(SMALL)
    batch = floor.collect()
    assert (batch.h[batch.is_init[::8]] == 0).all()
    assert batch.h.abs().max() > 0
    value, following = torch.rand(20, 1), torch.rand(20, 1)
    done = torch.rand(20, 1) < 0.2
    slow, _ = slow_gae(
        *(x[:, 0].tolist() for x in (value, following, torch.ones(20, 1), done, torch.zeros(20, 1))), 0.99, 0.95
    )
    torch.testing.assert_close(_gae(value, following, done, 0.99, 0.95)[:, 0], torch.tensor(slow))


def test_the_carts_move_as_gymnasium_s():
    gymnasium = pytest.importorskip("gymnasium")
    env = gymnasium.make("CartPole-v1")
    env.reset(seed=0)
    carts = CartPoles(1, seed=0)
    carts.state[0] = env.unwrapped.state
    for action in [0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]:
        expected, _, ended, *_ = env.step(action)
        found, terminated, _ = carts.step(torch.tensor([action]).numpy())
        assert found[0].tolist() == pytest.approx(expected[[0, 2]].tolist(), abs=1e-6)
        assert bool(terminated[0]) == ended
        if ended:
            return
    pytest.fail("the pole should have fallen")


def test_the_benchmark_writes_both_files_and_every_contestant_a_line(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "recurrent_ppo.py"), "--quick", "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    reply = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert reply.returncode == 0, reply.stderr
    results = json.loads((tmp_path / "recurrent_ppo.json").read_text())
    text = (tmp_path / "recurrent_ppo.md").read_text()
    assert results["lines"][0]["contestant"] == "ours"
    assert all(line["steps_per_cpu_second"] > 0 and f"| {line['contestant']} |" in text for line in results["lines"])
    base = next(line for line in results["lines"] if line["contestant"] == "plain torch")
    assert base["time_over_plain_torch"] == 1
    # h and c of this step, float32; those of the next are recomputed where a bootstrap reads them
    hidden = sum(size for key, size in results["bytes_per_frame"].items() if "recurrent_state" in key)
    assert hidden == 2 * 8 * 4
