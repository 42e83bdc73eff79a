from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_trl.errors import ConfigError, NonFiniteError, RatioError, SpecError
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.seeding import generator
from tests.objectives.helpers import collect, make_env, make_policy, rollout
from tests.reference.ppo import slow_update

PLAIN = {"value_norm": "none", "target_kl": math.inf, "lr": 1e-2, "entropy_coeff": 0.03}
MEMORIES = ["lstm", "gru", "mlp", "frames"]


def weights(actor_critic) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in actor_critic.policy.parameters()]).clone()


@settings(max_examples=8)
@given(steps=st.integers(2, 11), slice_len=st.integers(1, 12), minibatches=st.integers(1, 3), epochs=st.integers(1, 2))
def test_an_update_equals_the_slow_one_step_by_step_for_any_slice_length(steps, slice_len, minibatches, epochs):
    actor_critic, batch = rollout("lstm", envs=3, steps=steps)
    twin = copy.deepcopy(actor_critic)
    config = PPOConfig(slice_len=slice_len, minibatches=minibatches, epochs=epochs, **PLAIN)
    PPOLearner(actor_critic, config, seed=4).update(batch)
    slow_update(twin, batch, config, generator(4, "minibatches"))
    before = weights(make_policy("lstm", envs=3))
    assert (weights(actor_critic) - before).abs().max() > 5e-3  # something was learned
    assert torch.allclose(weights(actor_critic), weights(twin), atol=2e-4)  # Adam magnifies rounding of tiny gradients


@pytest.mark.parametrize("memory", MEMORIES)
def test_the_ratio_is_one_before_the_first_step_of_every_batch_and_the_batch_is_left_alone(memory):
    actor_critic = make_policy(memory)
    env = make_env(actor_critic)
    learner = PPOLearner(actor_critic, PPOConfig(slice_len=4, lr=1e-3))
    for seed in range(4):
        batch = collect(actor_critic, env, 11, seed)
        before = batch.clone()
        metrics = learner.update(batch)
        assert metrics["ppo/ratio_error_first"] < 1e-5
        assert (batch == before).all()
        assert all(isinstance(value, float) for value in metrics.values())


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 4), (4, 1)])
def test_the_batch_dimensions_do_not_matter(shape):
    one, batch = rollout(steps=9)
    other = copy.deepcopy(one)
    config = PPOConfig(slice_len=4, minibatches=2)
    expected = PPOLearner(one, config).update(batch)
    found = PPOLearner(other, config).update(batch.reshape(*shape, 9))
    assert found == expected
    assert torch.equal(weights(one), weights(other))


def test_an_unbatched_rollout_is_one_row():
    one, batch = rollout(steps=9)
    other = copy.deepcopy(one)
    config = PPOConfig(slice_len=4, minibatches=2)
    assert PPOLearner(one, config).update(batch[0]) == PPOLearner(other, config).update(batch[:1])


def test_metrics_are_means_over_steps_however_ragged_the_slices():
    """With a learning rate of zero every slice length sees the same policy, so every average must agree."""
    found = []
    for slice_len in (1, 4, 7, 11, 50):
        actor_critic, batch = rollout(steps=11)
        config = PPOConfig(slice_len=slice_len, minibatches=1, epochs=1, lr=0.0)
        found.append(PPOLearner(actor_critic, config).update(batch))
    for metrics in found[1:]:
        for name in ("loss/policy", "loss/value", "loss/entropy", "entropy/joint", "ppo/clip_fraction", "ppo/kl"):
            assert metrics[name] == pytest.approx(found[0][name], abs=1e-5), name


def test_entropies_of_the_heads_sum_to_the_joint_one():
    actor_critic, batch = rollout()
    metrics = PPOLearner(actor_critic, PPOConfig(slice_len=4)).update(batch)
    heads = [metrics[f"entropy/{name}"] for name in actor_critic.head_names]
    assert len(heads) == 3
    assert sum(heads) == pytest.approx(metrics["entropy/joint"], abs=1e-5)


def test_the_kl_limit_ends_the_update_before_the_step_that_found_it():
    actor_critic, batch = rollout()
    once = copy.deepcopy(actor_critic)
    settings_ = {"slice_len": 4, "minibatches": 1, "lr": 1e-2}
    stopped = PPOLearner(actor_critic, PPOConfig(epochs=5, target_kl=1e-9, **settings_)).update(batch)
    single = PPOLearner(once, PPOConfig(epochs=1, target_kl=math.inf, **settings_)).update(batch)
    assert (stopped["ppo/steps"], stopped["ppo/stopped_early"]) == (1, 1)
    assert (single["ppo/steps"], single["ppo/stopped_early"]) == (1, 0)
    assert stopped["ppo/kl"] > 1.5e-9
    assert torch.equal(weights(actor_critic), weights(once))


def test_a_head_s_entropy_weight_acts_on_that_head_alone():
    found = {}
    for name, weights_ in {
        "all": {},
        "none": dict.fromkeys(("head_0", "head_1", "head_2"), 0.0),
        "one": {"head_1": 0.0},
    }.items():
        actor_critic, batch = rollout()
        config = PPOConfig(minibatches=1, epochs=1, lr=0.0, entropy_coeff=0.5, entropy_weights=weights_)
        found[name] = PPOLearner(actor_critic, config).update(batch)
    assert found["none"]["loss/entropy"] == 0
    assert found["all"]["loss/entropy"] == pytest.approx(-0.5 * found["all"]["entropy/joint"], abs=1e-6)
    left = found["one"]["entropy/head_0"] + found["one"]["entropy/head_2"]
    assert found["one"]["loss/entropy"] == pytest.approx(-0.5 * left, abs=1e-6)


def test_unknown_heads_are_refused():
    with pytest.raises(ConfigError, match=r"unknown heads \['site'\]"):
        PPOLearner(make_policy(), PPOConfig(entropy_weights={"site": 1.0}))


def test_schedules_follow_the_frames_seen():
    actor_critic, batch = rollout(steps=10)  # 40 frames
    config = PPOConfig(lr=1e-3, lr_end=0.0, entropy_coeff=0.1, entropy_end=0.02, ratio_tolerance=9.0)
    learner = PPOLearner(actor_critic, config, total_frames=80)
    found = [learner.update(batch) for _ in range(3)]
    assert [metrics["schedule/lr"] for metrics in found] == pytest.approx([1e-3, 5e-4, 0.0])
    assert [metrics["schedule/entropy_coeff"] for metrics in found] == pytest.approx([0.1, 0.06, 0.02])
    assert learner.frames == 120
    assert learner.updates == 3


def test_coefficients_without_an_end_are_constant():
    actor_critic, batch = rollout(steps=10)
    learner = PPOLearner(actor_critic, PPOConfig(lr=1e-3, entropy_coeff=0.1, ratio_tolerance=9.0), total_frames=80)
    found = [learner.update(batch) for _ in range(2)]
    assert [metrics["schedule/lr"] for metrics in found] == [1e-3, 1e-3]
    assert [metrics["schedule/entropy_coeff"] for metrics in found] == [0.1, 0.1]


@pytest.mark.parametrize("name", ["lr_end", "entropy_end"])
def test_an_end_without_the_frames_it_is_reached_in_is_refused(name):
    with pytest.raises(ConfigError, match=rf"{name} = 0.001 needs the frames .* total_frames"):
        PPOLearner(make_policy(), PPOConfig(**{name: 1e-3}))


def test_a_training_of_no_frames_is_refused():
    with pytest.raises(ConfigError, match="total_frames must be at least 1: 0"):
        PPOLearner(make_policy(), total_frames=0)


def test_settings_to_resume_with_name_a_schedule_by_start_end_and_frames():
    """The form that checkpoints hold."""
    settings = PPOLearner(make_policy(), PPOConfig(lr=1e-3, lr_end=1e-4), total_frames=80).settings()
    assert settings["lr"] == "{'start': 0.001, 'end': 0.0001, 'frames': 80}"
    assert settings["entropy_coeff"] == "0.05"
    assert "lr_end" not in settings


def test_a_learning_rate_of_zero_changes_nothing():
    actor_critic, batch = rollout()
    before = weights(actor_critic)
    PPOLearner(actor_critic, PPOConfig(lr=0.0)).update(batch)
    assert torch.equal(weights(actor_critic), before)


def test_statistics_of_observations_are_frozen_during_the_update_and_renewed_after_it():
    actor_critic, batch = rollout()
    seen = []
    normaliser = actor_critic.normaliser
    handle = normaliser.register_forward_hook(lambda *_: seen.append(float(normaliser.count)))
    PPOLearner(actor_critic, PPOConfig()).update(batch)
    handle.remove()
    assert set(seen) == {0.0}
    assert float(normaliser.count) == batch.numel()
    assert torch.allclose(
        normaliser.mean, batch["observation"].flatten(0, 1).mean(0, dtype=normaliser.mean.dtype), atol=1e-5
    )


def test_three_non_finite_steps_in_a_row_stop_with_what_was_not_finite_and_change_nothing():
    actor_critic, batch = rollout()
    batch["next", "reward"][0, 0] = math.nan
    before = weights(actor_critic)
    learner = PPOLearner(actor_critic, PPOConfig(slice_len=4))
    with pytest.raises(NonFiniteError, match=r"3 steps in a row; not finite in the batch: next/reward"):
        learner.update(batch)
    assert learner.skipped_steps == 3
    assert torch.equal(weights(actor_critic), before)


def test_weights_that_are_not_finite_are_told_apart_from_data_that_is_not():
    actor_critic, batch = rollout()
    with torch.no_grad():
        next(actor_critic.policy.parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteError, match="nothing; the weights or the learning rate are to blame"):
        PPOLearner(actor_critic, PPOConfig()).update(batch)


def test_a_single_non_finite_gradient_is_skipped_and_counted_and_training_goes_on():
    actor_critic, batch = rollout()
    calls = []

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return gradient * math.nan if len(calls) in (2, 3) else gradient

    next(actor_critic.policy.parameters()).register_hook(poison)
    learner = PPOLearner(actor_critic, PPOConfig(slice_len=11, epochs=2, minibatches=4, target_kl=math.inf))
    metrics = learner.update(batch)
    assert metrics["ppo/skipped_steps"] == learner.skipped_steps == 2
    assert metrics["ppo/steps"] == 6
    assert weights(actor_critic).isfinite().all()
    assert math.isfinite(metrics["ppo/grad_norm"])


def test_a_non_finite_observation_never_enters_the_statistics():
    actor_critic, batch = rollout()
    batch["observation"][0, 0] = math.inf
    learner = PPOLearner(actor_critic, PPOConfig(lr=0.0, ratio_tolerance=9.0))
    learner.update(batch)
    assert float(actor_critic.normaliser.count) == batch.numel() - 1
    assert actor_critic.normaliser.mean.isfinite().all()


def test_log_probabilities_of_another_policy_raise_before_any_step():
    actor_critic, batch = rollout()
    batch["action_log_prob"] += 0.01
    before = weights(actor_critic)
    with pytest.raises(
        RatioError, match=r"differs from 1 by 0\.0\d+, allowed is 0\.0001; likely cause: the weights moved"
    ):
        PPOLearner(actor_critic, PPOConfig(minibatches=1)).update(batch)
    assert torch.equal(weights(actor_critic), before)


def test_a_batch_without_hidden_states_is_refused_before_any_work():
    actor_critic, batch = rollout()
    with pytest.raises(SpecError, match="recurrent_state_h"):
        PPOLearner(actor_critic, PPOConfig()).update(batch.exclude("recurrent_state_h"))
    with pytest.raises(SpecError, match="is_init"):
        PPOLearner(actor_critic, PPOConfig()).update(batch.exclude("is_init"))


def test_more_minibatches_than_slices_are_refused_before_any_work():
    actor_critic, batch = rollout(steps=8)
    learner = PPOLearner(actor_critic, PPOConfig(slice_len=8, minibatches=5))
    with pytest.raises(ConfigError, match="5 > 4"):
        learner.update(batch)
    assert learner.updates == 0


def test_refreshing_every_epoch_is_what_renewing_by_hand_between_updates_does():
    """Two epochs with a refresh equal one epoch, a renewal by hand, and one more epoch of the same optimiser."""
    from tamiyo_trl.objectives.refresh import renew

    one, batch = rollout(steps=9)
    other = copy.deepcopy(one)
    never = copy.deepcopy(one)
    settings_ = PLAIN | {"slice_len": 4, "minibatches": 1}
    PPOLearner(one, PPOConfig(epochs=2, refresh="epoch", **settings_)).update(batch)
    PPOLearner(never, PPOConfig(epochs=2, refresh="never", **settings_)).update(batch)
    by_hand = PPOLearner(other, PPOConfig(epochs=1, ratio_tolerance=1e9, **settings_))
    normaliser = copy.deepcopy(other.normaliser.state_dict())
    by_hand.update(batch)
    other.normaliser.load_state_dict(normaliser)  # the statistics are frozen between epochs
    by_hand.update(renew(batch, other.walk, other.state_keys))
    assert torch.allclose(weights(one), weights(other), atol=1e-5)
    assert (weights(one) - weights(never)).abs().max() > 1e-4


def test_a_restored_learner_continues_exactly():
    actor_critic = make_policy()
    learner = PPOLearner(actor_critic, PPOConfig(slice_len=4, lr=1e-2, lr_end=0.0), seed=3, total_frames=500)
    batches = [collect(actor_critic, make_env(actor_critic, seed=9), 11, seed=9)]
    learner.update(batches[0])
    saved = copy.deepcopy(learner.state_dict())
    batch = collect(actor_critic, make_env(actor_critic, seed=10), 11, seed=10)
    expected = learner.update(batch)
    fresh = PPOLearner(make_policy(seed=5), learner.config, seed=8, total_frames=500)
    fresh.load_state_dict(saved)
    assert fresh.update(batch) == expected
    assert torch.equal(weights(fresh.actor_critic), weights(actor_critic))
    assert (fresh.frames, fresh.updates) == (learner.frames, learner.updates)


def test_two_trunks_are_trained_with_both_states():
    from tamiyo_trl.policies import ActorCriticOptions, SeparateTrunks

    actor_critic = make_policy(options=ActorCriticOptions(critic=SeparateTrunks()))
    batch = collect(actor_critic, make_env(actor_critic), 11)
    before = [parameter.detach().clone() for parameter in actor_critic.policy.parameters()]
    metrics = PPOLearner(actor_critic, PPOConfig(slice_len=4, refresh="epoch")).update(batch)
    assert metrics["ppo/ratio_error_first"] < 1e-5
    assert len(actor_critic.state_keys) == 4
    assert not any(torch.equal(old, new) for old, new in zip(before, actor_critic.policy.parameters()))
