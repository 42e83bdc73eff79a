"""Baselines act legally and by their rules."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tensordict import TensorDict

from tamiyo_trl.errors import SpecError
from tamiyo_trl.policies import FixedSchedule, Heuristic, NeverGrow, Planting, RandomLegal

NAMES = ("time", "val accuracy change", "contribution", "seed stage BLENDING", "seed stage HOLDING")
ENV = SimpleNamespace(feature_names=NAMES)


def seen(mask: torch.Tensor, **columns: float) -> TensorDict:
    """One host's observation with these columns, and this joint mask [4, S, K]."""
    observation = torch.tensor([[float(columns.get(name.replace(" ", "_"), 0.0)) for name in NAMES]])
    return TensorDict({"observation": observation, "action_mask": mask[None]}, batch_size=[1])


def mask_of(*legal: tuple[int, int, int]) -> torch.Tensor:
    mask = torch.zeros(4, 2, 3, dtype=torch.bool)
    for op, site, kind in [(0, 0, 0), *legal]:
        mask[op, site, kind] = True
    return mask


GROW = [(1, site, kind) for site in range(2) for kind in range(3)]


def act(policy, tensordict) -> list[int]:
    return policy(tensordict)["action"][0].tolist()


def test_never_grow_waits():
    assert act(NeverGrow(), seen(mask_of(*GROW))) == [0, 0, 0]


def test_random_legal_is_uniform_over_ops_then_within_the_op():
    mask = mask_of(*GROW, (3, 1, 0))
    policy = RandomLegal(seed=0)
    tensordict = TensorDict(
        {"observation": torch.zeros(6000, 5), "action_mask": mask.expand(6000, -1, -1, -1)}, batch_size=[6000]
    )
    actions = policy(tensordict)["action"]
    assert mask[actions[:, 0], actions[:, 1], actions[:, 2]].all()
    ops = torch.bincount(actions[:, 0], minlength=4) / 6000
    assert ops.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.03)
    kinds = torch.bincount(actions[actions[:, 0] == 1][:, 2], minlength=3).float()
    assert (kinds / kinds.sum()).tolist() == pytest.approx([1 / 3] * 3, abs=0.05)


def test_fixed_schedule_plants_by_the_clock_keeps_at_once_and_never_culls():
    policy = FixedSchedule(ENV, episode_steps=25, plan=[Planting(3, 1, 2), Planting(3, 0, 1)])
    assert act(policy, seen(mask_of(*GROW), time=2 / 25)) == [0, 0, 0]
    assert act(policy, seen(mask_of(*GROW), time=3 / 25)) == [1, 1, 2]
    assert act(policy, seen(mask_of((2, 1, 0), (3, 1, 0)), time=9 / 25)) == [2, 1, 0]
    assert act(policy, seen(mask_of((1, 0, 0), (1, 0, 1)), time=10 / 25)) == [1, 0, 1]


def test_heuristic_plants_on_a_plateau_in_turn_and_starts_afresh_with_the_episode():
    policy = Heuristic(ENV)
    everything = mask_of(*GROW)
    assert act(policy, seen(everything, time=0.0)) == [0, 0, 0]
    assert act(policy, seen(everything, time=0.1, val_accuracy_change=0.0)) == [0, 0, 0]
    first = act(policy, seen(everything, time=0.2, val_accuracy_change=0.0))
    second = act(policy, seen(everything, time=0.3, val_accuracy_change=0.0))
    assert first[0] == second[0] == 1
    assert first != second
    assert act(policy, seen(everything, time=0.4, val_accuracy_change=0.1)) == [0, 0, 0]
    assert act(policy, seen(everything, time=0.0)) == [0, 0, 0]
    act(policy, seen(everything, time=0.1, val_accuracy_change=0.0))
    assert act(policy, seen(everything, time=0.2, val_accuracy_change=0.0)) == first


def test_heuristic_tries_every_planting_before_it_repeats_one():
    policy = Heuristic(ENV)
    chosen = []
    for step in range(8):
        action = act(policy, seen(mask_of(*GROW), time=(step + 1) / 25, val_accuracy_change=0.0))
        if action[0] == 1:
            chosen.append(tuple(action))
    assert sorted(chosen[:6]) == sorted(GROW)


def test_heuristic_culls_what_falls_and_keeps_what_helps():
    policy = Heuristic(ENV)
    both = mask_of((2, 1, 0), (3, 1, 0))
    assert act(policy, seen(both, time=0.5, contribution=-0.1, seed_stage_HOLDING=1)) == [3, 1, 0]
    assert act(policy, seen(both, time=0.5, contribution=0.03, seed_stage_HOLDING=1)) == [2, 1, 0]
    assert act(policy, seen(mask_of((3, 1, 0)), time=0.5, contribution=-0.1, seed_stage_BLENDING=1)) == [3, 1, 0]
    assert act(policy, seen(mask_of((3, 1, 0)), time=0.5, contribution=0.1, seed_stage_BLENDING=1)) == [0, 0, 0]


def test_missing_columns_are_named():
    with pytest.raises(SpecError, match="'contribution'"):
        Heuristic(SimpleNamespace(feature_names=("time", "val accuracy change")))
