"""Interventions change the hidden state where they say so, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torchrl.envs import TransformedEnv

from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation import rollout_episodes
from tamiyo_trl.evaluation.ablation import Intervention, StateSwap, interventions
from tamiyo_trl.policies import make_actor_critic
from tests.evaluation.worlds import TINY

STATE = "recurrent_state_h"


@pytest.fixture(scope="module")
def actor_critic():
    return make_actor_critic(GrowthEnv(TINY, 3, seed=1), memory="lstm", hidden_size=8, encoder_size=8)


def states(actor_critic, item: Intervention) -> torch.Tensor:
    """Return the hidden states entering every step, [3, T, H]."""
    env = TransformedEnv(GrowthEnv(TINY, 3, seed=1), item.transforms(actor_critic))
    steps = rollout_episodes(env, item.policy(actor_critic), 3)
    return torch.stack([step[STATE].squeeze(-2) for step in steps])


def test_a_reset_clears_the_state_at_its_steps_only(actor_critic):
    for item, steps in ((Intervention(reset_at=5), [5]), (Intervention(reset_every=4), [4, 8])):
        is_zero = (states(actor_critic, item) == 0).all(-1).all(0)
        assert is_zero.nonzero().flatten().tolist() == [0, *steps]


def test_a_swap_gives_every_host_its_neighbours_state(actor_critic):
    swapped, plain = states(actor_critic, Intervention(swap_at=5)), states(actor_critic, Intervention(reset_at=99))
    assert torch.equal(swapped[:, :5], plain[:, :5])
    assert torch.equal(swapped[:, 5], plain[:, 5].roll(1, 0))
    assert not torch.equal(swapped[:, 6], plain[:, 6])


def test_only_hosts_at_the_step_take_part_in_a_swap():
    """Hand-worked: hosts 0 and 2 are at step 1, host 1 has just begun."""
    seen = []

    class Recorder(torch.nn.Module):
        in_keys, out_keys = ["s"], ["action"]

        def forward(self, tensordict):
            seen.append(tensordict["s"].flatten().tolist())
            return tensordict

    swap = StateSwap(Recorder(), ["s"], at=1)
    state = torch.tensor([[10.0], [11.0], [12.0]])
    for begins in ([True, True, True], [False, True, False], [False, False, False]):
        swap(TensorDict({"s": state.clone(), "is_init": torch.tensor(begins)[:, None]}, [3]))
    assert seen == [[10, 11, 12], [12, 11, 10], [10, 11, 12]]


def test_interventions_are_named_and_checked():
    names = [item.name for item in interventions((4,), (1, 8), (6,))]
    assert names == ["reset at 4", "reset every 1", "reset every 8", "swapped at 6"]
    with pytest.raises(ConfigError, match="one reset, a period or one swap"):
        Intervention(reset_at=3, swap_at=3)
    with pytest.raises(ConfigError, match="a memory"):
        StateSwap(torch.nn.Identity(), [], at=3)
