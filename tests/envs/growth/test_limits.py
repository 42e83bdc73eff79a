"""`max_kept` closes germination, `val_every` withholds validation; both say so in the observation."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.errors import ConfigError, IllegalActionError
from tamiyo_trl.seeds.lifecycle import Op

WAIT = (0, 0, 0)


def step(env: GrowthEnv, *action: int) -> TensorDict:
    return env.step(TensorDict({"action": torch.tensor([action] * env.n_envs)}, batch_size=[env.n_envs]))["next"]


def column(env: GrowthEnv, tensordict: TensorDict, name: str) -> torch.Tensor:
    return tensordict["observation"][..., env.feature_names.index(name)]


@pytest.mark.parametrize("observation", ["minimal", "snapshot", "summary"])
def test_specs_hold_with_both_settings(tiny, observation):
    config = dataclasses.replace(tiny, max_kept=1, val_every=3, observation=observation)
    env = GrowthEnv(config, n_envs=2, seed=1)
    check_env_specs(env)
    assert env.feature_names[-2:] == ("kept", "val age")


def test_germination_is_closed_once_max_kept_fossils_stand(tiny):
    env = GrowthEnv(dataclasses.replace(tiny, max_kept=1), n_envs=1, seed=2)
    env.reset()
    step(env, Op.GERMINATE, 0, 0)
    for _ in range(5):
        before = step(env, *WAIT)
    assert column(env, before, "kept").item() == 0
    after = step(env, Op.FOSSILIZE, 0, 0)
    assert not after["action_mask"][0, Op.GERMINATE].any()
    assert after["action_mask"][0, Op.WAIT, 0, 0]
    assert column(env, after, "kept").item() == pytest.approx(1 / 3)
    with pytest.raises(IllegalActionError, match="1 seeds are kept and max_kept is 1"):
        step(env, Op.GERMINATE, 1, 0)
    assert env.reset()["action_mask"][0, Op.GERMINATE].all()  # the next episode may keep one again


def test_without_a_limit_another_seed_may_follow(tiny):
    env = GrowthEnv(tiny, n_envs=1, seed=2)
    env.reset()
    step(env, Op.GERMINATE, 0, 0)
    for _ in range(5):
        step(env, *WAIT)
    after = step(env, Op.FOSSILIZE, 0, 0)
    assert after["action_mask"][0, Op.GERMINATE, 1].all()
    assert "kept" not in env.feature_names


def test_validation_is_shown_at_every_third_step_and_else_the_last_reading_with_its_age(tiny):
    rare, always = (
        GrowthEnv(dataclasses.replace(tiny, val_every=every, reward="gain", privileged=True), n_envs=2, seed=3)
        for every in (3, 1)
    )
    first = [env.reset() for env in (rare, always)]
    steps = [[tensordict, *(step(env, *WAIT) for _ in range(7))] for env, tensordict in zip((rare, always), first)]
    ours, theirs = (torch.stack([item["observation"].clone() for item in each]) for each in steps)
    for name in ("val loss", "val accuracy"):
        at = rare.feature_names.index(name)
        shown, exact = ours[..., at], theirs[..., at]
        assert torch.equal(shown, exact[[0, 0, 0, 3, 3, 3, 6, 6]])
    age = ours[:, 0, rare.feature_names.index("val age")] * 5
    assert age.tolist() == pytest.approx([0, 1, 2, 0, 1, 2, 0, 1])
    change = ours[..., rare.feature_names.index("val accuracy change")]
    assert (change[[1, 2, 4, 5, 7]] == 0).all()
    # Training is seen in every step, and rewards and the privileged entry know every step's validation.
    at = rare.feature_names.index("train accuracy")
    assert torch.equal(ours[..., at], theirs[..., at])
    for mine, other in zip(*steps):
        assert torch.equal(mine["privileged"], other["privileged"])
    for mine, other in zip(steps[0][1:], steps[1][1:]):
        assert torch.equal(mine["reward"], other["reward"])


def test_a_contribution_is_shown_only_in_the_step_that_measured_it(tiny):
    env = GrowthEnv(dataclasses.replace(tiny, val_every=3), n_envs=1, seed=4)
    env.reset()
    seen = [step(env, Op.GERMINATE, 0, 3), *(step(env, *WAIT) for _ in range(5))]
    has = [column(env, item, "has contribution").item() for item in seen]
    assert has == [0, 0, 1, 0, 0, 1]  # after steps 1 to 6
    assert all(column(env, item, "contribution").item() == 0 for item, was in zip(seen, has) if not was)


def test_hand_made_memory_writes_down_what_was_shown(tiny):
    env = GrowthEnv(dataclasses.replace(tiny, val_every=4, observation="summary"), n_envs=1, seed=5)
    env.reset()
    last = [step(env, *WAIT) for _ in range(6)][-1]
    window = [column(env, last, f"val accuracy window {back}").item() for back in range(4, -1, -1)]
    assert window[:2] == [window[0]] * 2 and window[2:] == [window[2]] * 3  # noqa: PT018 - steps 2, 3 and 4, 5, 6
    assert window[0] != window[2]


def test_a_loaded_world_shows_the_same_old_reading(tiny):
    config = dataclasses.replace(tiny, val_every=4, max_kept=2)
    env, copy = GrowthEnv(config, n_envs=2, seed=6), GrowthEnv(config, n_envs=2, seed=99)
    env.rollout(6, break_when_any_done=False)
    copy.load_state_dict(env.state_dict())
    action = env.rand_action()
    ours, theirs = (world.step(action.clone())["next", "observation"] for world in (env, copy))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("wrong", [{"max_kept": 0}, {"val_every": 0}])
def test_impossible_limits_are_refused(tiny, wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be at least 1"):
        dataclasses.replace(tiny, **wrong)
