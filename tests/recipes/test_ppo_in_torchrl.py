"""The plain composition beside the fast learner: with the same weights, the same loss and gradient on one rollout."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from tensordict import TensorDictBase
from torchrl.envs import Compose, ExplorationType, InitTracker, RewardSum, TransformedEnv, set_exploration_type

from tamiyo_trl.envs import RecallEnv
from tamiyo_trl.envs.recall import RecallConfig
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import ActorCritic, Heads, make_actor_critic
from tests.recipes.loading import load_recipe

HIDDEN, ENVS, STEPS, SLICE_LEN = 8, 6, 12, 4
TASK = RecallConfig(delay=2, jitter=3)


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return load_recipe("ppo_in_torchrl")


def spread_policy(recipe: ModuleType):
    """Return the recipe's policy with weights far enough apart for ratios and gradients to mean something."""
    torch.manual_seed(0)
    policy = recipe.make_policy(8, Heads((2, 3, 3)), HIDDEN)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    return policy


def collected(policy) -> TensorDictBase:
    """Return a rollout [E, T] of `policy` with episode ends inside its rows."""
    env = RecallEnv(TASK, n_envs=ENVS, seed=0)
    env = TransformedEnv(env, Compose(InitTracker(), policy[1].make_tensordict_primer(), RewardSum()))
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        return env.rollout(STEPS, policy, break_when_any_done=False)


def twin_of(policy) -> tuple[ActorCritic, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Return the library's actor-critic with the policy's weights, and every weight beside its twin."""
    actor_critic = make_actor_critic(RecallEnv(TASK, n_envs=ENVS, seed=0), hidden_size=HIDDEN, encoder_size=HIDDEN)
    networks = actor_critic.networks
    (trunk,) = networks.trunks
    mine = [trunk.encoder, trunk.memory, networks.value, networks.logits]
    pairs = [pair for module, twin in zip(policy[:4], mine) for pair in zip(module.parameters(), twin.parameters())]
    assert len(pairs) == len(list(policy.parameters())) == len(list(actor_critic.parameters()))
    with torch.no_grad():
        for theirs, ours in pairs:
            ours.copy_(theirs)
    return actor_critic, pairs


def test_loss_and_gradient_of_one_batch_equal_the_fast_learner_s(recipe):
    policy = spread_policy(recipe)
    batch = collected(policy)
    actor_critic, pairs = twin_of(policy)
    assert batch["is_init"][:, 1:].any()
    settings = {"value_norm": "none", "target_kl": math.inf, "entropy_coeff": 0.03, "max_grad_norm": 1e9}
    config = PPOConfig(slice_len=SLICE_LEN, epochs=1, minibatches=1, lr=0.0, advantage_std_floor=1e-4, **settings)
    learner = PPOLearner(actor_critic, config)
    fast = learner.update(batch)
    buffer = recipe.make_buffer(batch.numel(), SLICE_LEN, 1)
    buffer.extend(recipe.number_slices(recipe.advantages(batch.clone(), policy), SLICE_LEN))
    total = recipe.total_loss(recipe.make_loss(policy, 0.03), buffer.sample().reshape(-1, SLICE_LEN))
    total.backward()
    assert float(total.detach()) == pytest.approx(
        fast["loss/policy"] + fast["loss/value"] + fast["loss/entropy"], rel=1e-4, abs=1e-6
    )
    moved = 0
    for theirs, ours in pairs:
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)
        moved += bool(theirs.grad.any())
    assert moved > len(pairs) // 2  # some units may be dead


def test_the_buffer_yields_every_slice_of_the_rollout_once_a_pass_and_whole(recipe):
    batch = collected(spread_policy(recipe))
    count, minibatches = batch.numel() // SLICE_LEN, 3
    buffer = recipe.make_buffer(batch.numel(), SLICE_LEN, minibatches)
    buffer.extend(recipe.number_slices(batch, SLICE_LEN))
    for _ in range(2):
        slices = torch.cat([buffer.sample().reshape(-1, SLICE_LEN) for _ in range(minibatches)])
        numbers = slices["slice"]
        assert (numbers == numbers[:, :1]).all()
        assert sorted(numbers[:, 0].tolist()) == list(range(count))
        expected = batch.reshape(-1, SLICE_LEN)[numbers[:, 0]]
        assert (slices["observation"] == expected["observation"]).all()


@pytest.mark.parametrize("world", ["recall", "growth"])
def test_both_worlds_train_and_print_their_return(recipe, world, capsys):
    steps = 25 if world == "growth" else 12
    size = {"envs": 2, "steps": steps, "slice_len": steps, "minibatches": 2, "hidden": 8, "epochs": 1}
    recipe.main(recipe.Args(world=world, batches=10, **size))
    frames, _, _, value = capsys.readouterr().out.split()
    assert int(frames) == 10 * 2 * steps
    assert math.isfinite(float(value))
