"""Ground truth by forks: both branches are what the environment itself would have given."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.evaluation import Episode, evaluate, rollout_episodes
from tamiyo_trl.policies import NeverGrow
from tamiyo_trl.policies.baselines import Baseline, RandomLegal
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.measures.forks import Decision, GroundTruth, fork_world
from tests.evaluation.worlds import TINY

WAIT = (0, 0, 0)


class Script(Baseline):
    """Plays one list of actions per host."""

    def __init__(self, actions: list[list[tuple[int, int, int]]]) -> None:
        super().__init__()
        self._actions, self._step = actions, 0

    def choose(self, observation: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        now = [script[self._step] if self._step < len(script) else WAIT for script in self._actions]
        self._step += 1
        return torch.tensor(now)


def play(actions: list[list[tuple[int, int, int]]], seed: int = 4) -> tuple[list[Episode], list[Decision]]:
    env = GrowthEnv(TINY, len(actions), seed)
    truth = GroundTruth(env)
    steps = rollout_episodes(env, Script(actions), len(actions), watch=truth)
    return [Episode.read(item) for item in steps], truth.decisions


def test_both_branches_equal_episodes_played_from_the_start():
    """The slow twin: the same decisions with nothing forked, every branch an episode of its own."""
    plant, cull, keep = (1, 1, 5), (3, 1, 0), (2, 1, 0)
    early = [WAIT, plant, WAIT, WAIT, cull]
    late = [plant, WAIT, WAIT, WAIT, WAIT, WAIT, keep]
    _, decisions = play([early, late])
    assert [(d.step, d.op, d.site, d.blueprint) for d in decisions] == [(4, Op.CULL, 1, 5), (6, Op.FOSSILIZE, 1, 5)]

    kept, _ = play([[WAIT, plant, *[WAIT] * 5, keep], late])
    removed, _ = play([early, [plant, *[WAIT] * 5, cull]])
    for decision, one, other in zip(decisions, kept, removed, strict=True):
        assert decision.episode == one.seed == other.seed
        assert decision.kept == round(one.final_accuracy, 6)
        assert decision.removed == round(other.final_accuracy, 6)
        assert decision.worth == decision.kept - decision.removed
        assert decision.could_stay
    assert any(decision.worth != 0 for decision in decisions)


def test_measuring_leaves_the_episodes_undisturbed():
    watched_env = GrowthEnv(TINY, 2, seed=9)
    truth = GroundTruth(watched_env)
    watched = rollout_episodes(watched_env, RandomLegal(1), 2, watch=truth)
    plain = rollout_episodes(GrowthEnv(TINY, 2, seed=9), RandomLegal(1), 2)
    assert truth.decisions
    for one, other in zip(watched, plain, strict=True):
        assert torch.equal(one[keys.OBSERVATION], other[keys.OBSERVATION])
        assert torch.equal(one["next", "info", "final_accuracy"], other["next", "info", "final_accuracy"])


def test_a_seed_without_time_to_be_kept_is_said_so():
    plant_late = [*[WAIT] * 7, (1, 0, 0), WAIT, WAIT, (3, 0, 0)]
    _, (decision,) = play([plant_late])
    assert decision.step == 10
    assert not decision.could_stay


def test_only_the_wanted_decisions_are_measured():
    env = GrowthEnv(TINY, 2, seed=9)
    culls = GroundTruth(env, (Op.CULL,))
    rollout_episodes(env, RandomLegal(1), 2, watch=culls)
    assert {decision.op for decision in culls.decisions} == {int(Op.CULL)}


def test_a_fork_lives_on_as_its_original_would():
    env = GrowthEnv(TINY, 2, seed=3)
    tensordict = env.reset()
    for _ in range(4):
        tensordict = env.step_and_maybe_reset(RandomLegal(2)(tensordict))[1]
    branch = fork_world(env.world, [1, 1])
    wait = torch.zeros(2, 3, dtype=torch.long)
    for _ in range(TINY.episode_steps - 4):
        ended = branch.step(wait).ended
        tensordict = env.step(NeverGrow()(tensordict))["next"]
    assert ended.all()
    assert branch.final_accuracy.tolist() == [tensordict["info", "final_accuracy"][1].item()] * 2


def test_watching_sees_every_step_before_it_is_taken():
    seen: list[torch.Tensor] = []

    def watch(tensordict: TensorDictBase) -> None:
        seen.append(tensordict[keys.ACTION].clone())

    steps = rollout_episodes(GrowthEnv(TINY, 2, seed=9), RandomLegal(1), 2, watch=watch)
    assert torch.equal(torch.stack([item[keys.ACTION] for item in steps]), torch.stack(seen, 1))


def test_mode_is_what_evaluate_plays():
    episodes = evaluate(GrowthEnv(TINY, 1, seed=2), NeverGrow(), 1)
    assert episodes[0].germinated == 0
