"""What an actor-critic cannot serve is refused by name."""

from __future__ import annotations

import pytest
import torch
from torchrl.data import Binary, Bounded, Categorical, Composite, Unbounded

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.policies import ActorCriticOptions, make_actor_critic
from tests.policies.zoo import SMALL, Kind, ZooEnv, rollout


def test_check_batch_names_what_is_missing() -> None:
    env = ZooEnv(Kind((3,), mask="independent"))
    actor_critic = make_actor_critic(env, "lstm", **SMALL)
    batch = rollout(env, actor_critic)
    actor_critic.check_batch(batch)
    for key in actor_critic.training_keys:
        with pytest.raises(SpecError, match=f"lacks '{key}'"):
            actor_critic.check_batch(batch.exclude(key))
    with pytest.raises(SpecError, match="without memory"):
        actor_critic.check_batch(batch.exclude(keys.HIDDEN_C))


def test_without_its_transforms_a_recurrent_policy_refuses_to_run() -> None:
    env = ZooEnv(Kind((3,)))
    actor_critic = make_actor_critic(env, "lstm", **SMALL)
    with pytest.raises(SpecError, match=r"actor_critic\.transforms\(\)"):
        env.rollout(3, actor_critic.collection_policy())


def test_a_mask_can_be_ignored_on_purpose_but_not_by_accident() -> None:
    env = ZooEnv(Kind((3,), mask="independent"), mask_key="allowed")
    assert make_actor_critic(env, "mlp", **SMALL, mask_key=None).mask_key is None
    with pytest.raises(SpecError, match="mask_key='allowed'"):
        make_actor_critic(env, "mlp", **SMALL)


def changed(**entries: object) -> ZooEnv:
    """A zoo environment whose specs say something else."""
    env = ZooEnv(Kind((3,), mask="independent"))
    env.set_spec_lock_(False)
    for name, spec in entries.items():
        if name == "action":
            env.action_spec = spec
        else:
            env.observation_spec[name] = spec
    return env


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"action": Bounded(-1, 1, shape=(3, 2))}, "action spec BoundedContinuous cannot be served"),
        ({"action": Categorical(4, shape=(3, 2, 2))}, r"trailing shape \(2, 2\) cannot be served"),
        ({"observation": Unbounded(shape=(3, 8, 8))}, r"'observation' has trailing shape \(8, 8\)"),
        ({"observation": Unbounded(shape=(3,))}, r"'observation' has trailing shape \(\)"),
        ({"observation": Unbounded(shape=(3, 84, 84, 3), dtype=torch.uint8)}, "FlattenObservation"),
        (
            {"action_mask": Binary(shape=(3, 5), dtype=torch.bool)},
            r"'action_mask' has trailing shape \(5,\).*need \(4,\)",
        ),
        ({"action_mask": Unbounded(shape=(3, 4))}, "'action_mask' has dtype torch.float32"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_served_is_refused_by_name(entries: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_actor_critic(changed(**entries), "lstm", **SMALL)


def test_missing_keys_and_bad_settings_are_refused_by_name() -> None:
    env = ZooEnv(Kind((3,), "multi", "joint", (2, 3)))
    with pytest.raises(SpecError, match="no observation 'pixels'"):
        make_actor_critic(env, observation_key="pixels")
    with pytest.raises(SpecError, match="no mask 'legal'"):
        make_actor_critic(env, mask_key="legal")
    with pytest.raises(ConfigError, match="hidden_size must be at least 1"):
        make_actor_critic(env, hidden_size=0)
    with pytest.raises(ConfigError, match="unknown memory 'rnn'"):
        make_actor_critic(env, "rnn")
    with pytest.raises(SpecError, match="leave `relevant` empty"):
        make_actor_critic(env, options=ActorCriticOptions(relevant=((True, False), (True, True))))
    with pytest.raises(SpecError, match="head_names must name 2 heads"):
        make_actor_critic(env, options=ActorCriticOptions(head_names=("op",)))


@pytest.mark.parametrize(
    ("table", "message"),
    [(((True, True),), r"table of \(2, 2\)"), (((False, True), (True, True)), "column 0 of relevant must be true")],
)
def test_a_malformed_relevance_table_is_refused(table: tuple[tuple[bool, ...], ...], message: str) -> None:
    env = ZooEnv(Kind((3,), "multi", "independent", (2, 3)))
    with pytest.raises(SpecError, match=message):
        make_actor_critic(env, options=ActorCriticOptions(relevant=table))


def test_specs_nested_or_named_otherwise_are_refused() -> None:
    env = ZooEnv(Kind((3,)))
    env.set_spec_lock_(False)
    env.full_action_spec = Composite({"move": Categorical(4, shape=(3,))}, shape=(3,))
    with pytest.raises(SpecError, match="exactly one action called 'action'"):
        make_actor_critic(env)
