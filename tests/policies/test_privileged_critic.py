"""A privileged critic knows what the policy never sees, and nothing else about learning changes."""

from __future__ import annotations

import copy

import pytest
import torch
from tensordict import TensorDictBase
from torchrl.collectors import Collector
from torchrl.envs import EnvBase, ExplorationType, TransformedEnv, check_env_specs, set_exploration_type

from tamiyo_trl import keys
from tamiyo_trl.collectors.collector import make_collector
from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.objectives import PPOConfig, PPOLearner, check_ratio
from tamiyo_trl.objectives.advantages import next_values
from tamiyo_trl.objectives.loss import SliceClipPPOLoss
from tamiyo_trl.objectives.refresh import renew
from tamiyo_trl.policies import (
    ActorCritic,
    ActorCriticOptions,
    Frames,
    PrivilegedCritic,
    SeparateTrunks,
    make_actor_critic,
)
from tests.policies.hidden_bonus import HiddenBonusEnv
from tests.policies.zoo import LEARN, SMALL, lively, recomputed

STEPS = 10


def make(memory: str = "lstm", critic: str = "lstm", env: EnvBase | None = None, seed: int = 0) -> ActorCritic:
    options = ActorCriticOptions(critic=PrivilegedCritic(hidden=(8, 6), memory=critic))
    env = HiddenBonusEnv() if env is None else env
    return lively(make_actor_critic(env, memory, **SMALL, options=options), seed)


def collect(actor_critic: ActorCritic, seed: int = 0) -> TensorDictBase:
    env = TransformedEnv(HiddenBonusEnv(seed=seed), actor_critic.transforms())
    torch.manual_seed(seed)
    with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
        return env.rollout(STEPS, actor_critic.collection_policy(), break_when_any_done=False)


def policy_gradient(actor_critic: ActorCritic, batch: TensorDictBase) -> list[torch.Tensor]:
    """The gradient of the whole loss at the policy's weights, for given advantages and value targets."""
    torch.manual_seed(1)
    data = batch.select(*actor_critic.training_keys)
    data[keys.ADVANTAGE], data[keys.VALUE_TARGET] = torch.randn(2, *batch.shape, 1)
    out = SliceClipPPOLoss(actor_critic, 0.2, 0.5, dict.fromkeys(actor_critic.head_names, 1.0))(data)
    total = out["loss_objective"] + out["loss_critic"] + out["loss_entropy"]
    return list(torch.autograd.grad(total, list(actor_critic.policy.parameters())))


@pytest.mark.parametrize("critic", ["mlp", "lstm"])
@pytest.mark.parametrize("memory", ["lstm", "mlp", "frames"])
def test_the_policy_cannot_see_what_the_critic_sees(memory: str, critic: str) -> None:
    actor_critic = make(memory, critic)
    batch = collect(actor_critic)
    other = batch.clone()
    other[keys.PRIVILEGED] = torch.randn_like(batch[keys.PRIVILEGED])
    assert not torch.equal(recomputed(actor_critic, batch)[1], recomputed(actor_critic, other)[1])
    torch.testing.assert_close(recomputed(actor_critic, batch)[0], recomputed(actor_critic, other)[0], rtol=0, atol=0)
    for seen, unseen in zip(policy_gradient(actor_critic, batch), policy_gradient(actor_critic, other)):
        torch.testing.assert_close(seen, unseen, rtol=0, atol=0)
    acted = []
    for data in (batch, other):
        torch.manual_seed(2)
        with torch.no_grad():
            acted.append(actor_critic.collection_policy()(data[:, 3].clone())[keys.ACTION])
    assert torch.equal(*acted)
    assert keys.PRIVILEGED not in actor_critic.policy.in_keys


@pytest.mark.parametrize("critic", ["mlp", "lstm", "gru"])
@pytest.mark.parametrize("memory", ["lstm", "mlp", "frames"])
def test_collection_update_and_both_ways_to_the_value_agree(memory: str, critic: str) -> None:
    actor_critic = make(memory, critic)
    check_env_specs(TransformedEnv(HiddenBonusEnv(), actor_critic.transforms()))
    batch = collect(actor_critic)
    log_prob, value, alone = recomputed(actor_critic, batch)
    torch.testing.assert_close(log_prob, batch[keys.LOG_PROB], rtol=0, atol=1e-5)
    torch.testing.assert_close(value, batch[keys.STATE_VALUE])
    torch.testing.assert_close(alone, batch[keys.STATE_VALUE])
    _, passed = actor_critic.networks.run(batch)
    torch.testing.assert_close(passed.transpose(0, 1), batch[keys.STATE_VALUE])
    report = check_ratio(actor_critic, TransformedEnv(HiddenBonusEnv(), actor_critic.transforms()), steps=STEPS)
    assert report.ok
    assert report.resets > 0


def test_it_acts_where_the_entries_are_missing_and_learns_only_where_they_are_shown() -> None:
    actor_critic = make()
    bare = TransformedEnv(HiddenBonusEnv(shows=False), actor_critic.transforms())
    rich = TransformedEnv(HiddenBonusEnv(), actor_critic.transforms())
    played = []
    for env in (bare, rich):
        torch.manual_seed(0)
        with torch.no_grad():
            played.append(env.rollout(STEPS, actor_critic.policy, break_when_any_done=False))
    assert torch.equal(played[0][keys.ACTION], played[1][keys.ACTION])
    with pytest.raises(SpecError, match="lacks 'privileged'"):
        PPOLearner(actor_critic, LEARN).update(collect(actor_critic).exclude(keys.PRIVILEGED))


def test_a_truncated_episode_bootstraps_from_the_privileged_entry_it_ended_with() -> None:
    actor_critic = make()
    batch = collect(actor_critic)
    truncated = batch["next", keys.TRUNCATED]
    assert truncated.any()
    before = next_values(batch, actor_critic.critic)
    batch["next", keys.PRIVILEGED] = torch.where(truncated, -batch["next", keys.PRIVILEGED], 0.0)
    after = next_values(batch, actor_critic.critic)
    changed = before != after
    assert changed[truncated].all()
    assert not changed[:, :-1][~truncated[:, :-1]].any()


def test_renewal_under_unchanged_weights_gives_what_was_stored() -> None:
    actor_critic = make()
    batch = collect(actor_critic)
    renewed = renew(batch, actor_critic.walk, actor_critic.state_keys)
    for key in (keys.STATE_VALUE, *actor_critic.state_keys):
        torch.testing.assert_close(renewed[key], batch[key])
    config = PPOConfig(slice_len=4, epochs=2, minibatches=2, refresh="epoch")
    assert PPOLearner(actor_critic, config).update(batch)["ppo/max_ratio_first"] == pytest.approx(1.0, abs=1e-5)


def test_the_lean_collector_stores_what_torchrls_own_does() -> None:
    batches = []
    for lean in (True, False):
        actor_critic, env = make(), HiddenBonusEnv()
        frames = STEPS * env.numel()
        wrapped = TransformedEnv(env, actor_critic.transforms())
        torch.manual_seed(0)
        collector = (
            make_collector(wrapped, actor_critic, frames, frames)
            if lean
            else Collector(wrapped, actor_critic.collection_policy(), frames_per_batch=frames, total_frames=frames)
        )
        batches.append(next(iter(collector)))
        collector.shutdown()
    for key in (*actor_critic.training_keys, ("next", keys.PRIVILEGED), ("next", keys.REWARD)):
        torch.testing.assert_close(batches[0][key], batches[1][key])


def test_statistics_of_the_entries_are_their_own_and_part_of_the_state() -> None:
    actor_critic = make()
    learner, batch = PPOLearner(actor_critic, LEARN), collect(actor_critic)
    learner.update(batch)
    found = actor_critic.normalisers[keys.PRIVILEGED]
    torch.testing.assert_close(found.mean.float(), batch[keys.PRIVILEGED].mean((0, 1)))
    twin = PPOLearner(make(seed=1), LEARN)
    twin.load_state_dict(copy.deepcopy(learner.state_dict()))
    following = collect(actor_critic, seed=5)
    assert twin.update(following) == learner.update(following)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keys": ()}, "at least one entry"),
        ({"keys": ("a", "a")}, "none twice"),
        ({"hidden": ()}, "at least one width"),
        ({"hidden": (8, 0)}, "at least 1"),
        ({"memory": Frames(3)}, "window"),
        ({"memory": "elephant"}, "unknown memory"),
    ],
)
def test_settings_that_make_no_critic_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrivilegedCritic(**settings)


def test_entries_the_environment_does_not_show_or_the_policy_reads_are_refused() -> None:
    with pytest.raises(SpecError, match="no observation 'privileged'"):
        make(env=HiddenBonusEnv(shows=False))
    options = ActorCriticOptions(critic=PrivilegedCritic(keys=(keys.OBSERVATION,)))
    with pytest.raises(ConfigError, match="reads 'observation' anyway"):
        make_actor_critic(HiddenBonusEnv(), options=options)


def chance_of_the_right_action(critic: PrivilegedCritic | SeparateTrunks, seed: int) -> float:
    """What 15 updates make of the policy where a hidden bonus is forty times what an action earns."""
    env = HiddenBonusEnv(n_envs=16, seed=seed, length=1, bonus=20.0, ends=keys.TERMINATED)
    options = ActorCriticOptions(critic=critic)
    actor_critic = make_actor_critic(env, "mlp", hidden_size=16, encoder_size=16, seed=seed, options=options)
    learner = PPOLearner(actor_critic, PPOConfig(lr=3e-3, entropy_coeff=0.0, target_kl=1.0), seed=seed)
    torch.manual_seed(seed)
    for batch in make_collector(env, actor_critic, 16 * 8, 16 * 8 * 15):
        learner.update(batch)
    with torch.no_grad():
        right = actor_critic.policy.get_dist(batch).log_prob(batch[keys.OBSERVATION].argmax(-1))
    return float(right.exp().mean())


def test_a_critic_that_knows_the_hidden_bit_lets_the_policy_learn_through_its_noise() -> None:
    knowing = [chance_of_the_right_action(PrivilegedCritic(hidden=(16, 16)), seed) for seed in range(3)]
    guessing = [chance_of_the_right_action(SeparateTrunks(), seed) for seed in range(3)]
    assert min(knowing) > max(guessing)
