"""A student learns from a teacher's labels what to do, under its masks and through its memory."""

from __future__ import annotations

import copy

import pytest
import torch
from tensordict import TensorDictBase
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.collectors.collector import make_collector
from tamiyo_trl.envs.recall import ANSWER, RecallConfig, RecallEnv
from tamiyo_trl.errors import ConfigError, NonFiniteError, SpecError
from tamiyo_trl.objectives import ImitationConfig, Imitator, PPOLearner
from tamiyo_trl.policies import ActorCritic, make_actor_critic
from tests.objectives.helpers import collect, make_env, make_policy, rollout

TASK = RecallConfig(delay=2, jitter=1)


def recalling(rows: TensorDictBase) -> Tensor:
    """Answer with the cue seen last in the row; wait where none was seen or nothing is asked."""
    observation = rows[keys.OBSERVATION]
    sites = rows[keys.ACTION_MASK].shape[-2]
    cue = torch.stack([observation[..., 2 : 2 + sites].argmax(-1), observation[..., 2 + sites :].argmax(-1)], -1)
    action = torch.zeros(*rows.shape, 3, dtype=torch.int64)
    known, seen = torch.zeros(len(rows), 2, dtype=torch.int64), torch.zeros(len(rows), dtype=torch.bool)
    for t in range(rows.shape[1]):
        shows, asks = observation[:, t, 0] > 0, observation[:, t, 1] > 0
        known, seen = torch.where(shows[:, None], cue[:, t], known), seen | shows
        answers = asks & seen
        action[answers, t, 0] = ANSWER
        action[answers, t, 1:] = known[answers]
    return action


def waiting(rows: TensorDictBase) -> Tensor:
    return torch.zeros_like(rows[keys.ACTION])


def student(memory: str, seed: int = 0) -> tuple[ActorCritic, RecallEnv]:
    env = RecallEnv(TASK, n_envs=16, seed=seed)
    return make_actor_critic(env, memory, hidden_size=32, encoder_size=32, seed=seed), env


def late_return(memory: str, updates: int = 25) -> float:
    """Mean return of the last batch's episodes after imitating `recalling`."""
    actor_critic, env = student(memory)
    imitator = Imitator(actor_critic, recalling)
    torch.manual_seed(0)
    for batch in make_collector(env, actor_critic, 16 * 20, 16 * 20 * updates):
        imitator.update(batch)
    return float(batch["next", keys.REWARD].sum() / batch["next", keys.DONE].sum())


def test_a_student_with_memory_recovers_the_teacher_and_one_without_cannot() -> None:
    assert late_return("lstm") > 0.9
    assert late_return("mlp") < 0.5  # chance is 0.25


def test_the_loss_is_the_mean_masked_log_probability_of_the_teachers_actions() -> None:
    actor_critic, batch = rollout()
    found = Imitator(copy.deepcopy(actor_critic), waiting, ImitationConfig(epochs=1, minibatches=1)).update(batch)
    taught = batch.clone()
    taught[keys.ACTION] = waiting(batch)
    factors, _ = actor_critic.networks.run(taught)
    expected = -factors.log_prob(taught[keys.ACTION].transpose(0, 1)).mean()
    assert found["imitation/loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    same = (batch[keys.ACTION] == 0).all(-1).float().mean()
    assert found["imitation/agreement"] == pytest.approx(float(same))


def test_a_forbidden_or_misshaped_action_of_the_teacher_is_refused_by_its_place() -> None:
    actor_critic, batch = rollout()
    allowed = batch[keys.ACTION_MASK][1, 2]
    forbidden = torch.tensor((~allowed).nonzero()[0].tolist())

    def careless(rows: TensorDictBase) -> Tensor:
        action = waiting(rows)
        action[1, 2] = forbidden
        return action

    with pytest.raises(SpecError, match="row 1, step 2 is forbidden"):
        Imitator(actor_critic, careless).update(batch)
    with pytest.raises(SpecError, match="must have shape"):
        Imitator(actor_critic, lambda rows: waiting(rows)[..., 0]).update(batch)


def test_a_restored_imitator_goes_on_exactly() -> None:
    actor_critic, batch = rollout()
    imitator = Imitator(actor_critic, waiting, ImitationConfig(memory=2))
    imitator.update(batch)
    other = Imitator(make_policy(seed=7), waiting, ImitationConfig(memory=2))
    other.load_state_dict(copy.deepcopy(imitator.state_dict()))
    following = collect(actor_critic, make_env(actor_critic), 11, seed=3)
    assert other.update(following) == imitator.update(following)
    assert other.frames == imitator.frames == 2 * batch.numel()


def test_ppo_goes_on_from_the_student() -> None:
    actor_critic, batch = rollout()
    Imitator(actor_critic, waiting).update(batch)
    following = collect(actor_critic, make_env(actor_critic), 11, seed=3)
    assert PPOLearner(actor_critic).update(following)["ppo/max_ratio_first"] == pytest.approx(1.0, abs=1e-5)


def test_a_loss_that_is_not_finite_is_raised() -> None:
    actor_critic, batch = rollout()
    batch[keys.OBSERVATION][0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="not finite"):
        Imitator(actor_critic, waiting).update(batch)


@pytest.mark.parametrize(
    "settings", [{"epochs": 0}, {"minibatches": 0}, {"memory": 0}, {"lr": 0.0}, {"entropy_coeff": -1.0}]
)
def test_settings_that_cannot_be_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ImitationConfig(**settings)
