"""RecallEnv: legal by construction, optimum and chance as stated, and resumable to the bit."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict, TensorDictBase
from torchrl.envs import InitTracker, StepCounter, TransformedEnv, check_env_specs

from tamiyo_trl import keys
from tamiyo_trl.envs.recall import ANSWER, WAIT, RecallConfig, RecallEnv
from tamiyo_trl.errors import ConfigError, IllegalActionError

configs = st.builds(
    RecallConfig,
    sites=st.integers(2, 4),
    colours=st.integers(1, 3),
    legal_sites=st.integers(1, 2),
    legal_colours=st.just(1),
    delay=st.integers(0, 4),
    jitter=st.integers(0, 3),
    distraction=st.sampled_from([0.0, 0.5, 1.0]),
)


class Rememberer:
    """Remembers the cue of each environment from the observation alone, and answers with it."""

    def __init__(self, config: RecallConfig) -> None:
        self.sites, self.cue = config.sites, None

    def __call__(self, tensordict: TensorDictBase) -> TensorDictBase:
        view = tensordict[keys.OBSERVATION]
        shown = torch.stack([view[:, 2 : 2 + self.sites].argmax(-1), view[:, 2 + self.sites :].argmax(-1)], -1)
        self.cue = shown if self.cue is None else torch.where(view[:, :1] > 0, shown, self.cue)
        answer = torch.cat([torch.full_like(self.cue[:, :1], ANSWER), self.cue], -1)
        return tensordict.set(keys.ACTION, torch.where(view[:, 1:2] > 0, answer, 0))


def first_legal(tensordict: TensorDictBase) -> TensorDictBase:
    """Answers with the first legal pair, whatever was shown."""
    mask = tensordict[keys.ACTION_MASK]
    flat = mask.flatten(1).clone()
    flat[:, 0] &= ~mask[:, ANSWER].flatten(1).any(-1)  # WAIT only where no answer is legal
    return tensordict.set(keys.ACTION, torch.stack(torch.unravel_index(flat.int().argmax(-1), mask.shape[1:]), -1))


def mean_return(env: RecallEnv, policy: object, steps: int) -> tuple[float, int]:
    """Mean reward per finished episode, and the number of episodes."""
    batch = env.rollout(steps, policy, break_when_any_done=False)
    episodes = int(batch["next", keys.DONE].sum())
    return float(batch["next", keys.REWARD].sum()) / episodes, episodes


@given(configs, st.integers(0, 99))
@pytest.mark.slow
def test_a_policy_that_remembers_earns_the_optimum_in_every_episode(config: RecallConfig, seed: int) -> None:
    env = RecallEnv(config, n_envs=7, seed=seed)
    assert mean_return(env, Rememberer(config), 30)[0] == env.optimum == 1.0


@pytest.mark.parametrize("config", [RecallConfig(), RecallConfig(4, 3, 3, 2, 1, 0), RecallConfig(5, 1, 2, 1, 0, 3)])
def test_a_policy_without_memory_earns_chance(config: RecallConfig) -> None:
    env = RecallEnv(config, n_envs=200, seed=3)
    got, episodes = mean_return(env, first_legal, 150)
    error = (env.chance * (1 - env.chance) / episodes) ** 0.5
    assert abs(got - env.chance) < 4 * error
    assert env.chance == 1 / (config.legal_sites * config.legal_colours)


def test_every_legal_pair_is_equally_likely_to_be_the_cue_whatever_the_mask_shows() -> None:
    env = RecallEnv(RecallConfig(delay=0, jitter=0), n_envs=4000, seed=1)
    env.rollout(1, first_legal, auto_reset=True)  # now at the question
    mask, cue = env._mask[:, ANSWER], env._cue
    ranks = (mask.flatten(1).cumsum(1) - 1).gather(1, cue[:, :1] * 3 + cue[:, 1:])  # which of the 4 legal pairs
    counts = torch.bincount(ranks.flatten(), minlength=4).float()
    assert ((counts - 1000).abs() < 4 * (4000 * 0.25 * 0.75) ** 0.5).all()


@given(configs, st.integers(0, 99))
@pytest.mark.slow
def test_masks_and_random_actions_are_legal_and_every_step_has_one(config: RecallConfig, seed: int) -> None:
    env = RecallEnv(config, n_envs=5, seed=seed)
    batch = env.rollout(20, break_when_any_done=False)
    mask, action = batch[keys.ACTION_MASK].flatten(0, 1), batch[keys.ACTION].flatten(0, 1)
    assert mask[(torch.arange(len(mask)), *action.unbind(-1))].all()
    assert (mask.flatten(1).sum(1) >= 1).all()
    asks = batch[keys.OBSERVATION][..., 1].flatten() > 0
    answers = mask[:, ANSWER].flatten(1).sum(1)
    assert (answers[asks] == config.legal_sites * config.legal_colours).all()
    assert (answers[~asks] == 0).all()
    assert torch.equal(mask[:, WAIT].flatten(1).nonzero()[:, 1], torch.zeros(len(mask), dtype=torch.int64))


def test_the_mask_matters_most_joint_actions_are_illegal() -> None:
    env = RecallEnv()
    batch = env.rollout(50, break_when_any_done=False)
    assert batch[keys.ACTION_MASK].float().mean() < 0.15


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ([0, 1, 0], "WAIT goes with site 0"),
        ([1, 0, 0], "only at the question"),
        ([2, 0, 0], "legal actions are"),
        ([0, 0, -1], "WAIT goes"),
    ],
)
def test_an_illegal_action_is_refused_with_env_action_and_reason(action: list[int], reason: str) -> None:
    env = RecallEnv(n_envs=3)
    step = env.rand_action(env.reset())
    step[keys.ACTION][1] = torch.tensor(action)
    with pytest.raises(IllegalActionError, match=r"in env 1.*" + reason) as caught:
        env.step(step)
    assert str(action) in str(caught.value)


def test_a_forbidden_answer_at_the_question_is_refused_with_what_is_legal() -> None:
    env = RecallEnv(RecallConfig(delay=0, jitter=0), n_envs=1)
    step = env.rollout(1, first_legal)["next"][:, 0]
    wrong = (~env._mask[0, ANSWER]).nonzero()[0]
    step[keys.ACTION] = torch.cat([torch.tensor([ANSWER]), wrong]).unsqueeze(0)
    with pytest.raises(IllegalActionError, match=r"ANSWER with \(site, colour\) in"):
        env.step(step)


def test_specs_hold() -> None:
    check_env_specs(RecallEnv(n_envs=4))
    check_env_specs(TransformedEnv(RecallEnv(n_envs=4), InitTracker()))


def test_episodes_are_as_long_as_their_delay_says_and_staggered_by_jitter() -> None:
    env = TransformedEnv(RecallEnv(RecallConfig(delay=3, jitter=2), n_envs=50), StepCounter())
    batch = env.rollout(60, break_when_any_done=False)
    ends = batch["next", "step_count"][batch["next", keys.DONE]]
    assert set(ends.tolist()) == {5, 6, 7}  # cue, delay of 3 to 5, question
    inside = batch["next", keys.DONE].squeeze(-1).any(0) & ~batch["next", keys.DONE].squeeze(-1).all(0)
    assert inside.float().mean() > 0.5
    assert torch.equal(batch["next", keys.DONE], batch["next", keys.TERMINATED])


def test_a_partial_reset_leaves_the_other_episodes_alone() -> None:
    env = RecallEnv(n_envs=4, seed=2)
    step = env.rollout(3, break_when_any_done=False)["next"][:, -1]
    before = {name: value.clone() for name, value in env.named_buffers()}
    rows = torch.tensor([True, False, True, False])
    after = env.reset(step.clone().set("_reset", rows.unsqueeze(-1)))
    for name in ("_cue", "_answers", "_question_step", "_step_in_episode", "_mask"):
        assert torch.equal(getattr(env, name)[~rows], before[name][~rows])
    assert (env._step_in_episode[rows] == 0).all()
    assert torch.equal(after[keys.OBSERVATION][~rows], step[keys.OBSERVATION][~rows])
    assert (after[keys.OBSERVATION][rows, 0] == 1).all()


def test_equal_seeds_give_equal_episodes_and_other_seeds_others() -> None:
    runs = [RecallEnv(n_envs=6, seed=seed).rollout(30, break_when_any_done=False) for seed in (1, 1, 2)]
    assert (runs[0] == runs[1]).all()
    assert not torch.equal(runs[0][keys.OBSERVATION], runs[2][keys.OBSERVATION])


@given(st.integers(0, 12), st.integers(0, 50))
@pytest.mark.slow
def test_a_restored_environment_goes_on_as_if_it_had_never_stopped(steps: int, seed: int) -> None:
    env = RecallEnv(n_envs=5, seed=seed)
    step = env.reset()
    for _ in range(steps):
        step = env.step_and_maybe_reset(env.rand_action(step))[1]
    saved = {name: torch.clone(value) for name, value in env.state_dict().items()}
    other = RecallEnv(n_envs=5, seed=seed + 1)
    other.load_state_dict(saved)
    theirs = step.clone()
    for _ in range(15):
        mine, step = env.step_and_maybe_reset(env.rand_action(step))
        twin, theirs = other.step_and_maybe_reset(other.rand_action(theirs))
        assert (mine == twin).all()


def test_seeding_does_not_disturb_the_running_episodes() -> None:
    env = RecallEnv(n_envs=3)
    env.reset()
    before = env._cue.clone(), env._question_step.clone()
    env.set_seed(9)
    assert torch.equal(env._cue, before[0])
    assert torch.equal(env._question_step, before[1])


def test_distractors_look_like_cues_but_for_the_flag_and_never_hide_the_question() -> None:
    env = RecallEnv(RecallConfig(distraction=1.0), n_envs=20)
    view = env.rollout(30, break_when_any_done=False)[keys.OBSERVATION].flatten(0, 1)
    asks = view[:, 1] > 0
    assert (view[~asks, 2:].sum(-1) == 2).all()
    assert (view[asks, 2:] == 0).all()
    distractors = view[~asks & (view[:, 0] == 0)]
    pairs = {
        tuple(pair)
        for pair in torch.stack([distractors[:, 2:5].argmax(-1), distractors[:, 5:].argmax(-1)], -1).tolist()
    }
    assert pairs == set(itertools.product(range(3), range(3)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"legal_sites": 4}, "legal_sites must lie in 1..3, got 4"),
        ({"legal_colours": 0}, "legal_colours must lie in 1..3, got 0"),
        ({"delay": -1}, "delay and jitter must be at least 0, got -1"),
        ({"distraction": 1.5}, "distraction is a probability"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RecallConfig(**settings)  # type: ignore[arg-type]  # a mix of ints and floats
    with pytest.raises(ConfigError, match="n_envs must be at least 1, got 0"):
        RecallEnv(n_envs=0)


def test_the_reward_is_paid_once_for_the_right_pair_alone() -> None:
    env = RecallEnv(RecallConfig(delay=0, jitter=0), n_envs=300, seed=4)
    step = env.rollout(1, first_legal)["next"][:, 0]
    out = env.step(env.rand_action(step))["next"]
    action = step[keys.ACTION]
    right = (action[:, 0] == ANSWER) & (action[:, 1:] == env._cue).all(-1)
    assert torch.equal(out[keys.REWARD].squeeze(-1) > 0, right)
    assert out[keys.DONE].all()
    assert 0 < right.sum() < 300
    assert isinstance(out, TensorDict)
