from __future__ import annotations

import math

import pytest
import torch
from tensordict import TensorDictBase
from torch import nn
from torchrl.envs import Compose, EnvBase, InitTracker, RewardSum, TensorDictPrimer, Transform, TransformedEnv

from tamiyo_trl.envs.recall import RecallEnv
from tamiyo_trl.errors import ConfigError, RatioError
from tamiyo_trl.objectives import Cause, PPOConfig, PPOLearner, check_ratio
from tamiyo_trl.objectives.diagnostics import compare
from tamiyo_trl.policies import GRU, LSTM, ActorCritic
from tests.objectives.helpers import SMALL, collect, make_env, make_policy


class Meddler(Transform):
    """Changes the hidden state that enters the next step, without telling is_init."""

    def __init__(self, change) -> None:
        super().__init__(in_keys=[], out_keys=[])
        self.change = change

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        for key in ("recurrent_state_h", "recurrent_state_c"):
            next_tensordict[key] = self.change(next_tensordict[key], next_tensordict["observation"])
        return next_tensordict

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        return tensordict_reset


class OneMaskBuffer(RecallEnv):
    """An environment that hands out one mask tensor and overwrites it at every step: a bug of real environments."""

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        return self._same_buffer(super()._reset(tensordict, **kwargs))

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        return self._same_buffer(super()._step(tensordict))

    def _same_buffer(self, shown: TensorDictBase) -> TensorDictBase:
        if "one_buffer" not in self.__dict__:
            self.__dict__["one_buffer"] = shown["action_mask"].clone()
        return shown.set("action_mask", self.__dict__["one_buffer"].copy_(shown["action_mask"]))


def wrapped(actor_critic: ActorCritic, *extra: Transform, raw: EnvBase | None = None) -> EnvBase:
    env = TransformedEnv(raw or RecallEnv(SMALL, n_envs=4, seed=0), actor_critic.transforms())
    for transform in extra:
        env.append_transform(transform)
    return env


@pytest.mark.parametrize(
    "memory", ["lstm", "gru", "mlp", "frames", LSTM(num_layers=2), GRU(num_layers=3, layer_norm=True)]
)
@pytest.mark.parametrize("slice_len", [1, 7, 64])
def test_a_right_policy_on_a_right_environment_passes_with_masks_resets_and_layers(memory, slice_len):
    actor_critic = make_policy(memory)
    report = check_ratio(actor_critic, make_env(actor_critic), steps=30, slice_len=slice_len)
    assert report.ok, report
    assert max(report.step_error, report.slice_error) < 1e-5
    assert report.cause is Cause.NONE
    assert report.first_mismatch is None
    assert report.resets > 10
    assert (report.slice_resets > 0) == (slice_len > 1)
    assert 0.5 < report.masked_share < 1
    assert report.layers == {"lstm": 1, "gru": 1, "mlp": 0, "frames": 0}.get(memory, getattr(memory, "num_layers", 0))
    assert str(report).startswith("ok")


def test_a_bare_environment_is_told_to_track_episode_starts():
    actor_critic = make_policy()
    report = check_ratio(actor_critic, RecallEnv(SMALL, n_envs=4))
    assert report.cause is Cause.MISSING_TRACKER
    assert not report.ok
    assert math.isinf(report.slice_error)


def test_a_missing_primer_is_named():
    actor_critic = make_policy()
    env = TransformedEnv(RecallEnv(SMALL, n_envs=4), Compose(InitTracker(), RewardSum()))
    report = check_ratio(actor_critic, env)
    assert report.cause is Cause.MISSING_PRIMER
    assert "missing primer" in str(report)


def test_a_hidden_state_that_survives_the_reset_is_named():
    """A primer that begins episodes with ones: single steps hide it (they zero at is_init), rows do not."""
    actor_critic = make_policy()
    spec = next(t for t in actor_critic.transforms() if isinstance(t, TensorDictPrimer)).primers
    wrong = TensorDictPrimer(spec.clone(), default_value=1.0, expand_specs=True)
    env = TransformedEnv(RecallEnv(SMALL, n_envs=4), Compose(InitTracker(), wrong, RewardSum()))
    report = check_ratio(actor_critic, env)
    assert report.cause is Cause.CARRIED_STATE
    assert "wrong reset" in str(report)
    assert report.step_error < 1e-5 < report.slice_error


def test_a_state_reset_in_mid_episode_without_telling_is_named():
    actor_critic = make_policy()
    at_noise = Meddler(lambda state, seen: state * (seen[:, 2] == 0).reshape(-1, 1, 1))
    report = check_ratio(actor_critic, wrapped(actor_critic, at_noise))
    assert report.cause is Cause.UNMARKED_RESET
    assert report.step_error < 1e-5 < report.slice_error


def test_a_state_changed_between_two_steps_is_named():
    actor_critic = make_policy()
    report = check_ratio(actor_critic, wrapped(actor_critic, Meddler(lambda state, _: state + 0.1)))
    assert report.cause is Cause.CHANGED_STATE


def test_a_mask_overwritten_in_place_is_named():
    actor_critic = make_policy()
    raw = OneMaskBuffer(SMALL, n_envs=4, seed=0)
    assert check_ratio(actor_critic, wrapped(actor_critic, raw=raw)).ok  # our transforms copy what it shows
    _copying, *others = actor_critic.transforms()
    for transform in others:
        transform.reset_parent()
    report = check_ratio(actor_critic, TransformedEnv(raw, Compose(*others)))
    assert report.cause is Cause.LOST_MASK
    assert "lost mask" in str(report)


def test_a_mask_dropped_between_collection_and_update_is_named():
    actor_critic = make_policy()
    rows = collect(actor_critic, make_env(actor_critic), 30)
    for place in (rows, rows["next"]):
        place["action_mask"] = torch.ones_like(place["action_mask"])
    report = compare(actor_critic, rows, 8, 1e-4)
    assert report.cause is Cause.LOST_MASK
    with pytest.raises(RatioError, match="lost mask"):
        PPOLearner(actor_critic, PPOConfig(minibatches=1)).update(rows)


def test_a_mask_ignored_at_collection_is_named():
    actor_critic = make_policy()
    env = make_env(actor_critic)
    rows = collect(actor_critic, env, 30)
    free = rows.clone()
    free["action_mask"] = torch.ones_like(rows["action_mask"])
    with torch.no_grad():
        rows["action_log_prob"] = actor_critic.policy.get_dist(free.select(*actor_critic.policy.in_keys)).log_prob(
            rows["action"]
        )
    assert compare(actor_critic, rows, 8, 1e-4).cause is Cause.IGNORED_MASK


def test_dropout_is_named():
    actor_critic = make_policy()
    encoder = actor_critic.policy.module[0]
    encoder.module.append(nn.Dropout(0.5))
    report = check_ratio(actor_critic, wrapped(actor_critic))
    assert report.cause is Cause.RANDOM_LAYER
    assert "dropout" in str(report)
    actor_critic.eval()
    assert check_ratio(actor_critic, wrapped(actor_critic)).ok


def test_a_policy_that_ran_from_a_blank_state_is_named():
    actor_critic = make_policy()
    rows = collect(actor_critic, make_env(actor_critic), 30)
    blank = rows.select(*actor_critic.policy.in_keys).clone()
    for key in actor_critic.state_keys:
        blank[key].zero_()
    with torch.no_grad():
        rows["action_log_prob"] = actor_critic.policy.get_dist(blank).log_prob(rows["action"])
    assert compare(actor_critic, rows, 8, 1e-4).cause is Cause.BLANK_STATE


def test_moved_weights_leave_no_other_trace_and_the_first_place_is_told():
    actor_critic = make_policy()
    rows = collect(actor_critic, make_env(actor_critic), 30)
    with torch.no_grad():
        actor_critic.policy.module[0].module[1].weight += 0.1
    report = compare(actor_critic, rows, 8, 1e-4)
    assert report.cause is Cause.UNKNOWN
    row, step = report.first_mismatch
    assert f"first at row {row}, step {step}" in str(report)
    assert step < 8


def test_a_single_wrong_log_probability_is_found_where_it_sits():
    actor_critic = make_policy()
    rows = collect(actor_critic, make_env(actor_critic), 30)
    rows["action_log_prob"][2, 17] += 0.5
    assert compare(actor_critic, rows, 8, 1e-4).first_mismatch == (2, 17)


def test_the_check_trains_nothing():
    actor_critic = make_policy()
    before = [parameter.clone() for parameter in actor_critic.parameters()]
    check_ratio(actor_critic, make_env(actor_critic))
    assert all(torch.equal(a, b) for a, b in zip(before, actor_critic.parameters()))


@pytest.mark.parametrize("settings", [{"steps": 0}, {"slice_len": 0}, {"tolerance": 0.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        check_ratio(make_policy(), RecallEnv(SMALL, n_envs=4), **settings)
