"""Masked heads inside TorchRL's probabilistic modules and its PPO loss."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import strategies as st
from tensordict import TensorDict
from tensordict.nn import InteractionType, TensorDictModule, set_interaction_type
from tensordict.nn import ProbabilisticTensorDictModule as Probabilistic
from tensordict.nn import ProbabilisticTensorDictSequential as Sequential
from torchrl.objectives import ClipPPOLoss

from tamiyo_trl.policies import CompositeMaskedHeads, MaskedHeads
from tamiyo_trl.policies.actions import Heads

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
seeds = st.integers(0, 10**6)


def make_policy() -> Sequential:
    torch.manual_seed(0)
    linear = TensorDictModule(torch.nn.Linear(3, 9), in_keys=["observation"], out_keys=["logits"])
    heads = Probabilistic(
        in_keys={"logits": "logits", "mask": "action_mask"},
        out_keys=["action"],
        distribution_class=CompositeMaskedHeads,
        distribution_kwargs={"action": Heads((2, 3, 4), ("op", "site", "blueprint"))},
        return_log_prob=True,
        default_interaction_type=InteractionType.RANDOM,
    )
    return Sequential(linear, heads)


def make_batch() -> TensorDict:
    mask = torch.rand(32, 2, 3, 4) < 0.5
    mask[:, 0, 0, 0] = True
    batch = TensorDict({"observation": torch.randn(32, 3), "action_mask": mask}, [32])
    batch["advantage"], batch["value_target"] = torch.randn(32, 1), torch.randn(32, 1)
    return batch


def test_clip_ppo_loss_weighs_and_logs_each_head() -> None:
    policy, batch = make_policy(), make_batch()
    with torch.no_grad():
        policy(batch)
    value = TensorDictModule(torch.nn.Linear(3, 1), in_keys=["observation"], out_keys=["state_value"])
    weights = {"op": 1.0, "site": 0.1, "blueprint": 0.0}
    out = ClipPPOLoss(policy, value, entropy_coeff=weights, functional=False)(batch)
    entropies = policy.get_dist(batch).head_entropies()
    expected = -(entropies["op"] + 0.1 * entropies["site"]).mean()
    torch.testing.assert_close(out["loss_entropy"], expected)
    assert set(out["composite_entropy"].keys()) == {"op", "site", "blueprint"}
    assert out["max_ratio"].item() == 1.0
    out["loss_objective"].backward()


@pytest.mark.parametrize("kind", [InteractionType.DETERMINISTIC, InteractionType.MODE])
def test_deterministic_interaction_takes_the_mode(kind: InteractionType) -> None:
    policy, batch = make_policy(), make_batch()
    with torch.no_grad(), set_interaction_type(kind):
        policy(batch)
        assert torch.equal(batch["action"], policy.get_dist(batch).mode)


def test_the_per_head_entropies_of_the_uniform_distribution_are_logarithms() -> None:
    dist = MaskedHeads(torch.zeros(9), torch.ones(2, 3, 4, dtype=torch.bool), action=Heads((2, 3, 4)))
    got = [value.item() for value in dist.head_entropies().values()]
    assert got == pytest.approx([math.log(2), math.log(3), math.log(4)])
