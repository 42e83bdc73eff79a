"""GrowthEnv keeps TorchRL's contract, its own rules, and its hosts apart."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tensordict import TensorDict
from torchrl.envs.utils import check_env_specs

from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig, LifecycleConfig
from tamiyo_trl.envs.growth.actions import growth_actions
from tamiyo_trl.errors import CheckpointError, ConfigError, IllegalActionError
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op


def play(env: GrowthEnv, plan: list[list[tuple[int, int, int]]]) -> list[TensorDict]:
    """Step through a plan of actions per step and env, resetting first; return what each step wrote."""
    tensordict = env.reset()
    seen = []
    for actions in plan:
        tensordict["action"] = torch.tensor(actions)
        taken, tensordict = env.step_and_maybe_reset(tensordict)
        seen.append(taken["next"].clone())
    return seen


WAIT = (0, 0, 0)


def test_specs_hold(tiny):
    check_env_specs(GrowthEnv(tiny, n_envs=3, seed=1))


def test_random_actions_are_legal_over_whole_episodes(tiny):
    # step() raises on an illegal action, so surviving staggered episodes is the proof.
    rollout = GrowthEnv(tiny, n_envs=4, seed=2).rollout(40, break_when_any_done=False)
    assert set(rollout["action"][..., 0].unique().tolist()) == {0, 1, 2, 3}


def test_episode_ends_terminated_at_its_length_and_reports_the_committed_network(tiny):
    rollout = GrowthEnv(tiny, n_envs=2, seed=3).rollout(24, break_when_any_done=False)
    done = rollout["next", "done"].squeeze(-1)
    assert done.nonzero()[:, 1].tolist() == [11, 23, 11, 23]
    assert torch.equal(rollout["next", "terminated"], rollout["next", "done"])
    final = rollout["next", "info", "final_accuracy"].squeeze(-1)
    assert (final[done] > 0).all()
    assert (final[~done] == 0).all()
    # At the end only fossils stand.
    assert set(rollout["next", "info", "stage"][done].unique().tolist()) <= {
        int(Stage.DORMANT),
        int(Stage.CULLED),
        int(Stage.FOSSILIZED),
    }


def test_reward_is_the_sum_of_its_parts(tiny):
    for reward in ("gain", "sparse", "contribution"):
        env = GrowthEnv(dataclasses.replace(tiny, reward=reward), n_envs=3, seed=4)
        rollout = env.rollout(12)
        parts = torch.stack(list(rollout["next", "reward_parts"].values())).sum(0)
        torch.testing.assert_close(parts, rollout["next", "reward"])


def test_hosts_learn(tiny):
    config = dataclasses.replace(
        tiny,
        family="single",
        training=HostTrainingConfig(images_per_step=256, decay_from=6),
        splits=GrowthConfig().splits,
    )
    steps = play(GrowthEnv(config, n_envs=4, seed=0), [[WAIT] * 4] * 12)
    first, last = (step["info", "val_accuracy"].mean().item() for step in (steps[0], steps[-1]))
    assert last > first + 0.2
    assert last > 0.5


def test_a_seeds_life_runs_through_its_stages_and_changes_the_network(tiny):
    conv = tiny.blueprints.index("conv_heavy")
    plan = [[(1, 0, conv)]] + [[WAIT]] * 6 + [[(2, 0, 0)]] + [[WAIT]] * 4
    steps = play(GrowthEnv(tiny, n_envs=1, seed=5), plan)
    stages = [Stage(int(step["info", "stage"][0, 0])) for step in steps]
    assert stages[:8] == [
        Stage.TRAINING,
        *[Stage.BLENDING] * 3,
        *[Stage.HOLDING] * 3,
        Stage.FOSSILIZED,
    ]
    assert stages[-1] == Stage.FOSSILIZED
    assert steps[-1]["info", "added_parameters"].item() == 2 * (9 * 64 + 2 * 8)  # conv_heavy at 8 channels: 2(9CC+2C)
    assert steps[-1]["info", "fossilized"].item() == 1


def test_a_culled_seed_leaves_its_host_as_if_it_had_only_incubated(tiny):
    """Incubating changes nothing of the host, so after a cull from the incubator the host equals one never seeded."""
    conv = tiny.blueprints.index("conv_light")
    config = dataclasses.replace(tiny, lifecycle=LifecycleConfig(train_steps=4))
    culled = play(GrowthEnv(config, n_envs=1, seed=6), [[(1, 1, conv)], [WAIT], [(3, 1, 0)], [WAIT], [WAIT]])
    never = play(GrowthEnv(config, n_envs=1, seed=6), [[WAIT]] * 5)
    for one, other in zip(culled, never, strict=True):
        for name in ("val_accuracy", "train_accuracy"):
            assert torch.equal(one["info", name], other["info", name])
    assert culled[-1]["info", "culled"].item() == 1


def test_a_seed_not_fossilized_is_removed_at_the_end(tiny):
    wide = tiny.blueprints.index("wide")
    steps = play(GrowthEnv(tiny, n_envs=1, seed=7), [[(1, 0, wide)]] + [[WAIT]] * 11)
    assert steps[-2]["info", "added_parameters"].item() > 0
    assert steps[-1]["info", "added_parameters"].item() == 0
    assert steps[-1]["info", "culled"].item() == 0  # removed by the clock, not by Tamiyo


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ((2, 0, 0), r"env 1: FOSSILIZE at site 0 .* illegal: the site is DORMANT"),
        ((3, 1, 0), r"env 1: CULL at site 1 .* illegal: the site is DORMANT"),
        ((0, 1, 0), r"env 1: WAIT .* illegal: WAIT takes site 0 and blueprint 0"),
        ((1, 3, 0), r"env 1: action \(1, 3, 0\) is outside of \(4, 3, 7\)"),
        ((-1, 0, 0), r"env 1: action \(-1, 0, 0\) is outside"),
    ],
)
def test_illegal_actions_raise_with_env_action_and_reason(tiny, action, reason):
    with pytest.raises(IllegalActionError, match=reason):
        play(GrowthEnv(tiny, n_envs=2, seed=8), [[WAIT, action]])


def test_a_second_live_seed_is_illegal_and_nothing_has_happened(tiny):
    env = GrowthEnv(tiny, n_envs=1, seed=9)
    play(env, [[(1, 0, 0)]])
    before = env.state_dict()["world"]["lifecycle"]["stage"].clone()
    with pytest.raises(IllegalActionError, match="another seed is live"):
        env.step(TensorDict({"action": torch.tensor([[1, 1, 0]])}, batch_size=[1]))
    assert torch.equal(env.state_dict()["world"]["lifecycle"]["stage"], before)


def test_mask_counts_every_legal_action_once(tiny):
    env = GrowthEnv(tiny, n_envs=2, seed=10)
    table = env.joint_actions
    assert len(table) == 1 + 3 * 7 + 3 + 3
    assert len(table.unique(dim=0)) == len(table)
    tensordict = env.reset()
    for _ in range(12):
        mask = tensordict["action_mask"]
        reachable = torch.zeros_like(mask)
        reachable[:, table[:, 0], table[:, 1], table[:, 2]] = True
        assert not (mask & ~reachable).any()
        assert mask[:, Op.WAIT, 0, 0].all()
        tensordict = env.step_mdp(env.step(env.rand_action(tensordict)))


def test_the_specs_eight_flat_actions():
    table = growth_actions(1, 5).tolist()
    assert table == [[0, 0, 0], *([1, 0, kind] for kind in range(5)), [2, 0, 0], [3, 0, 0]]


def test_same_seed_same_numbers_and_another_seed_other_numbers(tiny):
    first, second, other = (GrowthEnv(tiny, n_envs=2, seed=seed).rollout(12) for seed in (11, 11, 12))
    for key in ("observation", "action", ("next", "reward"), ("next", "info", "final_accuracy")):
        assert torch.equal(first[key], second[key])
    assert not torch.equal(first["observation"], other["observation"])


def test_a_hosts_numbers_do_not_depend_on_its_neighbours_actions(tiny):
    wide = tiny.blueprints.index("wide")
    quiet = play(GrowthEnv(tiny, n_envs=3, seed=13), [[(1, 0, wide), WAIT, WAIT]] + [[WAIT] * 3] * 6)
    busy_plan = [[(1, 0, wide), (1, 1, 0), (1, 0, wide)]] + [[WAIT] * 3] * 2 + [[WAIT, (3, 1, 0), WAIT]]
    busy = play(GrowthEnv(tiny, n_envs=3, seed=13), busy_plan + [[WAIT] * 3] * 3)
    for one, other in zip(quiet, busy, strict=True):
        assert torch.equal(one["observation"][0], other["observation"][0])
        assert torch.equal(one["reward"][0], other["reward"][0])


def test_lockstep_equals_one_host_at_a_time(tiny):
    """Host e's episode depends on (seed, e): the same world alone, in a fleet of one, gives the same numbers."""
    conv = tiny.blueprints.index("conv_heavy")
    plan = [[(1, 0, conv)] * 3] + [[WAIT] * 3] * 5
    together = play(GrowthEnv(tiny, n_envs=3, seed=14), plan)
    for host in range(3):
        env = GrowthEnv(tiny, n_envs=1, seed=14, first_env=host)
        alone = play(env, [[actions[host]] for actions in plan])
        for one, other in zip(together, alone, strict=True):
            # One of 64 validation images may fall on the other side of a tie.
            close = {"atol": 1.01 / 64, "rtol": 0.0}
            torch.testing.assert_close(one["info", "val_accuracy"][host], other["info", "val_accuracy"][0], **close)
            torch.testing.assert_close(one["observation"][host], other["observation"][0], **close)


def test_partial_resets_leave_the_others_untouched(tiny):
    env, twin = (GrowthEnv(tiny, n_envs=2, seed=15) for _ in range(2))
    play(env, [[WAIT, WAIT]] * 3)
    play(twin, [[WAIT, WAIT]] * 3)
    flags = TensorDict({"_reset": torch.tensor([[True], [False]])}, batch_size=[2])
    tensordict = env.reset(flags)
    assert tensordict["observation"][0, 0] == 0  # the clock of host 0 starts again
    for _ in range(3):
        tensordict["action"] = torch.zeros(2, 3, dtype=torch.long)
        tensordict = env.step(tensordict)
        plain = twin.step(TensorDict({"action": torch.zeros(2, 3, dtype=torch.long)}, batch_size=[2]))
        assert torch.equal(tensordict["next", "observation"][1], plain["next", "observation"][1])
        tensordict = tensordict["next"].clone()


def test_loaded_state_goes_on_as_if_never_stopped(tiny):
    env = GrowthEnv(tiny, n_envs=3, seed=16)
    tensordict = env.rollout(7, auto_reset=True)[:, -1]["next"].select("observation", "action_mask")
    state = env.state_dict()
    copy = GrowthEnv(tiny, n_envs=3, seed=99)
    copy.load_state_dict(state)
    for _ in range(8):
        action = env.rand_action(TensorDict({}, batch_size=[3]))["action"]
        assert torch.equal(action, copy.rand_action(TensorDict({}, batch_size=[3]))["action"])
        one, other = (world.step(TensorDict({"action": action}, batch_size=[3])) for world in (env, copy))
        for key in ("observation", "reward", "action_mask"):
            assert torch.equal(one["next", key], other["next", key])
        if one["next", "done"].any():
            env.reset()
            copy.reset()
    del tensordict


def test_a_diverged_host_ends_its_own_episode_and_touches_no_other(tiny):
    env, healthy = (GrowthEnv(tiny, n_envs=2, seed=17) for _ in range(2))
    env.reset()
    healthy.reset()
    env.world.episodes.images["train_images"][0, :] = float("nan")
    step = TensorDict({"action": torch.zeros(2, 3, dtype=torch.long)}, batch_size=[2])
    hurt, plain = env.step(step.clone())["next"], healthy.step(step.clone())["next"]
    assert hurt["done"].squeeze(-1).tolist() == [True, False]
    assert hurt["reward"][0].item() == -tiny.rewards.fault_penalty
    assert hurt["info", "diverged"].squeeze(-1).tolist() == [1.0, 0.0]
    assert torch.isfinite(hurt["observation"]).all()
    assert torch.equal(hurt["observation"][1], plain["observation"][1])
    after = env.reset(TensorDict({"_reset": hurt["done"]}, batch_size=[2]))
    assert torch.isfinite(after["observation"]).all()


def test_spec_setting_counts_as_the_reference():
    env = GrowthEnv(GrowthConfig.spec(), n_envs=1)
    assert env.world.fleet.host_parameters == 94_762
    assert len(env.joint_actions) == 8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"task": "faces"}, "task must be one of"),
        ({"family": "odd"}, "family must be one of"),
        ({"observation": "all"}, "observation must be one of"),
        ({"reward": "fame"}, "reward must be one of"),
        ({"episode_steps": 6}, "one seed life of 7 steps, got 6"),
        ({"sites": (3,)}, "sites must be block numbers"),
        ({"blueprints": ()}, "blueprints must be distinct"),
        ({"image_size": 12}, "image sizes"),
        ({"blueprints": ("conv",)}, "conv"),
    ],
)
def test_impossible_settings_are_refused_before_any_work(wrong, message):
    with pytest.raises(ConfigError, match=message):
        GrowthEnv(dataclasses.replace(GrowthConfig(), **wrong), n_envs=1)


@pytest.mark.parametrize("action", [torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2, 3), torch.zeros(2, 3).bool()])
def test_an_action_of_another_type_is_refused_before_anything_happens(tiny, action):
    env = GrowthEnv(tiny, n_envs=2, seed=1)
    tensordict = env.reset()
    before = env.world.readings.clone()
    with pytest.raises(IllegalActionError, match="an action is int64"):
        env._step(tensordict.set("action", action))
    assert torch.equal(env.world.readings.step, before.step)
    assert torch.equal(env.world.readings.val_accuracy, before.val_accuracy)


def test_a_fresh_episode_shows_no_final_accuracy(tiny):
    env = GrowthEnv(tiny, n_envs=2, seed=1)
    seen = play(env, [[WAIT, WAIT]] * tiny.episode_steps)
    assert (seen[-1]["info", "final_accuracy"] > 0).all()
    assert not env.world.final_accuracy.any()
    assert not env.reset()["info", "final_accuracy"].any()


@pytest.mark.parametrize(
    ("name", "value"),
    [("reward", "sparse"), ("blueprints", ("wide",)), ("training", HostTrainingConfig(lr=0.01))],
)
def test_a_state_of_other_hosts_is_refused_by_name(tiny, name, value):
    state = GrowthEnv(tiny, n_envs=2, seed=1).state_dict()
    other = GrowthEnv(dataclasses.replace(tiny, **{name: value}), n_envs=2, seed=1)
    with pytest.raises(CheckpointError, match=f"hosts with {name} = "):
        other.load_state_dict(state)
    with pytest.raises(CheckpointError, match="hosts with n_envs = 2, these have 3"):
        GrowthEnv(tiny, n_envs=3, seed=1).load_state_dict(state)
