"""make_actor_critic serves every environment of the zoo with every memory, and refuses by name what it cannot serve."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import InteractionType, set_interaction_type
from torch import nn
from torchrl.collectors import Collector, MultiSyncCollector
from torchrl.data import Binary, Bounded, Categorical, Composite, Unbounded
from torchrl.envs import ParallelEnv, TransformedEnv, check_env_specs
from torchrl.modules import GRUModule, LSTMModule, set_recurrent_mode

from tamiyo_trl import keys
from tamiyo_trl.envs import RecallEnv
from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import (
    GRU,
    LSTM,
    ActorCritic,
    ActorCriticOptions,
    Frames,
    MemoryCore,
    SeparateTrunks,
    make_actor_critic,
)
from tests.policies.zoo import KINDS, Kind, ZooEnv

MEMORIES = ["lstm", "gru", "mlp", "frames"]
SMALL = {"hidden_size": 8, "encoder_size": 8}
LEARN = PPOConfig(slice_len=4, epochs=1, minibatches=2)


def lively(actor_critic: ActorCritic, seed: int = 0) -> ActorCritic:
    """Redraw all weights, so that no output is nearly constant."""
    torch.manual_seed(seed)
    for parameter in actor_critic.parameters():
        nn.init.normal_(parameter, std=0.5)
    return actor_critic


def rollout(env: ZooEnv, actor_critic: ActorCritic, steps: int = 20) -> TensorDictBase:
    wrapped = TransformedEnv(env, actor_critic.transforms())
    with torch.no_grad():
        return wrapped.rollout(steps, actor_critic.collection_policy(), break_when_any_done=False)


def recomputed(actor_critic: ActorCritic, batch: TensorDictBase) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities, the value head's and the critic's values of a batch in recurrent mode."""
    data = batch.select(*actor_critic.training_keys).exclude(keys.LOG_PROB, keys.STATE_VALUE)
    with torch.no_grad(), set_recurrent_mode(True):
        log_prob = actor_critic.policy.get_dist(data).log_prob(batch[keys.ACTION])
        critic = actor_critic.critic(batch.select(*actor_critic.critic.in_keys))
        return log_prob, actor_critic.value_head(data)[keys.STATE_VALUE], critic[keys.STATE_VALUE]


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_was_collected_is_what_the_update_recomputes(kind: Kind, memory: str) -> None:
    env = ZooEnv(kind)
    actor_critic = lively(make_actor_critic(env, memory, **SMALL))
    batch = rollout(env, actor_critic)
    log_prob, value, critic = recomputed(actor_critic, batch)
    assert (log_prob - batch[keys.LOG_PROB]).abs().max() < 1e-5
    assert batch[keys.LOG_PROB].std() > 0.1
    torch.testing.assert_close(value, batch[keys.STATE_VALUE])
    torch.testing.assert_close(critic, batch[keys.STATE_VALUE])
    assert batch[keys.IS_INIT][..., 1:, :].any()


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_collected_batch_goes_straight_into_the_learner(kind: Kind, memory: str) -> None:
    env = ZooEnv(kind)
    actor_critic = make_actor_critic(env, memory, **SMALL)
    wrapped = TransformedEnv(env, actor_critic.transforms())
    check_env_specs(wrapped)
    frames = 20 * max(1, env.numel())
    collector = Collector(wrapped, actor_critic.collection_policy(), frames_per_batch=frames, total_frames=frames)
    metrics = PPOLearner(actor_critic, LEARN).update(next(iter(collector)))
    collector.shutdown()
    assert metrics["ppo/max_ratio_first"] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("recipe", [LSTM(2, True, True), GRU(2, True, True), LSTM(learned_start=True), Frames(3)])
def test_settings_of_a_memory_keep_collection_and_update_equal(recipe: LSTM | GRU | Frames) -> None:
    env = ZooEnv(Kind((3,), "multi", "joint", (2, 3)))
    actor_critic = lively(make_actor_critic(env, recipe, **SMALL))
    batch = rollout(env, actor_critic)
    log_prob, value, critic = recomputed(actor_critic, batch)
    torch.testing.assert_close(log_prob, batch[keys.LOG_PROB], rtol=0, atol=1e-5)
    torch.testing.assert_close(value, batch[keys.STATE_VALUE])
    torch.testing.assert_close(critic, batch[keys.STATE_VALUE])


@pytest.mark.parametrize("memory", MEMORIES)
def test_separate_trunks_share_no_weight_and_no_state(memory: str) -> None:
    env = ZooEnv(Kind((3,), "multi", "joint", (2, 3)))
    actor_critic = lively(make_actor_critic(env, memory, **SMALL, options=ActorCriticOptions(trunks=SeparateTrunks())))
    batch = rollout(env, actor_critic)
    log_prob, value, critic = recomputed(actor_critic, batch)
    torch.testing.assert_close(log_prob, batch[keys.LOG_PROB], rtol=0, atol=1e-5)
    torch.testing.assert_close(value, batch[keys.STATE_VALUE])
    torch.testing.assert_close(critic, batch[keys.STATE_VALUE])
    assert len(set(actor_critic.state_keys)) == 2 * len(actor_critic.memory.state_keys)
    with torch.enable_grad():
        critic_loss = actor_critic.critic(batch[:, 0].select(*actor_critic.critic.in_keys))[keys.STATE_VALUE].sum()
    critic_loss.backward()
    actor = actor_critic.networks.trunks[0]
    assert all(parameter.grad is None for parameter in actor.parameters())
    PPOLearner(actor_critic, LEARN).update(batch)


@pytest.mark.parametrize("memory", MEMORIES)
def test_the_collection_policy_gives_what_the_full_policy_gives(memory: str) -> None:
    env = ZooEnv(Kind((3,), "multi", "joint", (2, 3)))
    actor_critic = lively(make_actor_critic(env, memory, **SMALL))
    step = rollout(env, actor_critic)[:, 5].select(*actor_critic.policy.in_keys)
    for kind in (InteractionType.RANDOM, InteractionType.DETERMINISTIC, InteractionType.MODE):
        with torch.no_grad(), set_interaction_type(kind):
            torch.manual_seed(1)
            lean = actor_critic.collection_policy()(step.clone())
            torch.manual_seed(1)
            full = actor_critic.policy(step.clone())
        for key in actor_critic.collected_keys:
            torch.testing.assert_close(lean[key], full[key])
        assert set(lean.keys(True, True)) == {*step.keys(), *actor_critic.collected_keys}


def test_nothing_is_stored_that_neither_update_nor_bootstrap_reads() -> None:
    env = ZooEnv(Kind((3,), "multi", "joint", (2, 3)))
    actor_critic = make_actor_critic(env, "lstm", **SMALL)
    batch = rollout(env, actor_critic)
    shown_by_env = set(env.rollout(1, lambda td: actor_critic.collection_policy()(_primed(td))).keys(True, True))
    extra = set(batch.keys(True, True)) - shown_by_env
    plain = {key for key in extra if isinstance(key, str)}
    assert plain <= {*actor_critic.training_keys, keys.EPISODE_REWARD}


def _primed(tensordict: TensorDictBase) -> TensorDictBase:
    n = tensordict.batch_size[0]
    tensordict[keys.IS_INIT] = torch.ones(n, 1, dtype=torch.bool)
    for key in (keys.HIDDEN_H, keys.HIDDEN_C):
        tensordict[key] = torch.zeros(n, 1, 8)
    return tensordict


def make_parallel() -> ParallelEnv:
    return ParallelEnv(2, [partial(ZooEnv, Kind(mask="independent"), seed) for seed in (1, 2)])


def test_parallel_environments_are_served() -> None:
    env = make_parallel()
    try:
        actor_critic = lively(make_actor_critic(env, "lstm", **SMALL))
        batch = rollout(env, actor_critic, 12)
        assert batch.batch_size == (2, 12)
        log_prob, _, _ = recomputed(actor_critic, batch)
        torch.testing.assert_close(log_prob, batch[keys.LOG_PROB], rtol=0, atol=1e-5)
        metrics = PPOLearner(actor_critic, LEARN).update(batch)
        assert metrics["ppo/max_ratio_first"] == pytest.approx(1.0, abs=1e-5)
    finally:
        env.close()


def make_wrapped() -> TransformedEnv:
    env = ZooEnv(Kind((2,), "multi", "joint", (2, 3)))
    return TransformedEnv(env, make_actor_critic(env, "gru", **SMALL).transforms())


def test_several_collector_processes_are_served() -> None:
    actor_critic = lively(make_actor_critic(ZooEnv(Kind((2,), "multi", "joint", (2, 3))), "gru", **SMALL))
    collector = MultiSyncCollector(
        [make_wrapped, make_wrapped], actor_critic.collection_policy(), frames_per_batch=48, total_frames=96
    )
    try:
        learner = PPOLearner(actor_critic, LEARN)
        for batch in collector:
            metrics = learner.update(batch)
            assert metrics["ppo/max_ratio_first"] == pytest.approx(1.0, abs=1e-5)
            collector.update_policy_weights_()
    finally:
        collector.shutdown()
    assert learner.frames == 96


class Echo(MemoryCore):
    """A user's memory: last step's input beside this one's."""

    def __init__(self, features: int) -> None:
        super().__init__(2 * features, {"before": (features,)})

    def step(self, x: torch.Tensor, states: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return torch.cat([x, states[0]], -1), [x]


class EchoMemory:
    window = 1

    def build(self, in_features: int, hidden_size: int) -> Echo:
        return Echo(in_features)


def test_a_memory_of_ones_own_is_carried_collected_and_trained() -> None:
    env = ZooEnv(Kind((3,), mask="independent"))
    actor_critic = lively(make_actor_critic(env, EchoMemory(), **SMALL))
    batch = rollout(env, actor_critic)
    assert actor_critic.state_keys == ("before",)
    going_on = ~batch[keys.IS_INIT][:, 1:, 0]
    assert torch.equal(batch["before"][:, 1:][going_on], batch["next", "before"][:, :-1][going_on])
    assert not batch["before"][batch[keys.IS_INIT].squeeze(-1)].any()
    log_prob, _, _ = recomputed(actor_critic, batch)
    torch.testing.assert_close(log_prob, batch[keys.LOG_PROB], rtol=0, atol=1e-5)
    PPOLearner(actor_critic, LEARN).update(batch)


def test_frames_are_the_latest_observations_of_the_same_episode() -> None:
    env = ZooEnv(Kind((3,)))
    batch = rollout(env, make_actor_critic(env, Frames(3), **SMALL), 15)
    stacked = batch["frames"].unflatten(-1, (3, 3))
    for e in range(3):
        history: list[torch.Tensor] = []
        for t in range(15):
            now = batch["observation"][e, t]
            history = [now] * 3 if batch[keys.IS_INIT][e, t] else [*history[1:], now]
            torch.testing.assert_close(stacked[e, t], torch.stack(history))


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone() -> None:
    env = ZooEnv(Kind((3,)))
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, second, third = (make_actor_critic(env, "lstm", **SMALL, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [torch.cat([p.flatten() for p in ac.parameters()]) for ac in (first, second, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_sizes_and_gains_are_those_of_the_spec() -> None:
    actor_critic = make_actor_critic(ZooEnv(Kind((3,), "multi", "joint", (2, 3))), "lstm")
    shapes = [tuple(p.shape) for p in actor_critic.parameters()]
    # F = 3: encoder 3 -> 256, LSTM 256 -> 128, value 128 -> 64 -> 1, actor 128 -> 64 -> 5.
    assert shapes == [
        (256, 3), (256,), (512, 256), (512, 128), (512,), (512,),
        (64, 128), (64,), (1, 64), (1,), (64, 128), (64,), (5, 64), (5,),
    ]  # fmt: skip
    last = actor_critic.networks.logits.module[-1].weight
    torch.testing.assert_close(last @ last.T, 1e-4 * torch.eye(5))  # orthogonal with gain 0.01


def test_state_dict_copy_and_pickle_keep_the_policy() -> None:
    env = ZooEnv(Kind((3,), mask="independent"))
    actor_critic = lively(make_actor_critic(env, "lstm", **SMALL))
    batch = rollout(env, actor_critic)
    actor_critic.normaliser.update(batch["observation"])
    loaded = make_actor_critic(env, "lstm", **SMALL, seed=5)
    loaded.load_state_dict(actor_critic.state_dict())
    expected = recomputed(actor_critic, batch)[0]
    for other in (loaded, copy.deepcopy(actor_critic), pickle.loads(pickle.dumps(actor_critic))):
        assert torch.equal(recomputed(other, batch)[0], expected)
    clone = copy.deepcopy(actor_critic)
    clone.networks.value.module[0].weight.data.zero_()
    assert not torch.equal(clone.policy.module[2].module[0].weight, actor_critic.policy.module[2].module[0].weight)


def test_the_policy_counts_every_parameter_once() -> None:
    actor_critic = make_actor_critic(ZooEnv(Kind((3,))), "gru", **SMALL)
    own = {id(p) for p in actor_critic.parameters()}
    assert own == {id(p) for p in actor_critic.policy.parameters()}
    assert own == {id(p) for p in actor_critic.collection_policy().parameters()}


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


def test_transforms_are_fresh_each_time() -> None:
    actor_critic = make_actor_critic(ZooEnv(Kind((3,))), "lstm", **SMALL)
    for seed in range(2):
        check_env_specs(TransformedEnv(ZooEnv(Kind((3,)), seed), actor_critic.transforms()))


def test_keys_can_be_chosen() -> None:
    env = ZooEnv(Kind((3,), mask="independent"), observation_key="view", mask_key="allowed")
    actor_critic = make_actor_critic(env, "lstm", **SMALL, observation_key="view", mask_key="allowed")
    batch = rollout(env, actor_critic)
    assert {"view", "allowed"} <= set(actor_critic.training_keys)
    PPOLearner(actor_critic, LEARN).update(batch)


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
        ({"action": Categorical(4, shape=(3, 2))}, r"trailing shape \(2,\) cannot be served"),
        ({"observation": Unbounded(shape=(3, 8, 8))}, r"'observation' has trailing shape \(8, 8\)"),
        ({"observation": Unbounded(shape=(3,))}, r"'observation' has trailing shape \(\)"),
        ({"observation": Unbounded(shape=(3, 5), dtype=torch.int64)}, "'observation' has dtype torch.int64"),
        ({"observation": Unbounded(shape=(3, 84, 84, 3), dtype=torch.uint8)}, "'observation' has dtype torch.uint8"),
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


def test_a_relevance_table_reaches_the_policy() -> None:
    env = ZooEnv(Kind((3,), "multi", "independent", (2, 3)))
    options = ActorCriticOptions(("op", "value"), ((True, False), (True, True)))
    actor_critic = lively(make_actor_critic(env, "lstm", **SMALL, options=options))
    batch = rollout(env, actor_critic)
    other = batch[keys.ACTION].clone()
    other[..., 1] = (other[..., 1] + 1) % 3
    data = batch.select(*actor_critic.policy.in_keys)
    with set_recurrent_mode(True), torch.no_grad():
        dist = actor_critic.policy.get_dist(data)
    same = dist.log_prob(other) == dist.log_prob(batch[keys.ACTION])
    assert same[batch[keys.ACTION][..., 0] == 0].all()
    assert not same[batch[keys.ACTION][..., 0] == 1].any()
    assert list(PPOLearner(actor_critic, LEARN).update(batch))
    assert actor_critic.head_names == ("op", "value")


def test_specs_nested_or_named_otherwise_are_refused() -> None:
    env = ZooEnv(Kind((3,)))
    env.set_spec_lock_(False)
    env.full_action_spec = Composite({"move": Categorical(4, shape=(3,))}, shape=(3,))
    with pytest.raises(SpecError, match="exactly one action called 'action'"):
        make_actor_critic(env)


def test_an_unbatched_step_by_hand_matches_the_first_step_of_a_batch() -> None:
    single, batched = ZooEnv(Kind()), ZooEnv(Kind((1,)))
    actor_critic = lively(make_actor_critic(single, "gru", **SMALL))
    one, many = rollout(single, actor_critic, 4), rollout(batched, actor_critic, 4)
    expected = TensorDict({k: one[k] for k in actor_critic.critic.in_keys}, [4]).unsqueeze(0)
    assert one.batch_size == (4,)
    assert many.batch_size == (1, 4)
    with set_recurrent_mode(True), torch.no_grad():
        torch.testing.assert_close(actor_critic.critic(expected)[keys.STATE_VALUE][0], one[keys.STATE_VALUE])


@pytest.mark.parametrize(("memory", "module"), [("lstm", LSTMModule), ("gru", GRUModule)])
def test_recurrent_policies_compose_torchrls_own_modules(memory, module) -> None:
    actor_critic = make_actor_critic(RecallEnv(n_envs=2), memory=memory, hidden_size=8, encoder_size=8)
    assert isinstance(actor_critic.memory, module)
    assert any(isinstance(part, module) for part in actor_critic.policy.modules())
    names = [name for name, _ in actor_critic.named_parameters(remove_duplicate=False)]
    assert len(names) == len(set(names)) == len(list(actor_critic.parameters()))


def test_initial_logits_are_the_policys_first_habit() -> None:
    env = RecallEnv(n_envs=2)
    size = sum(make_actor_critic(env).nvec)
    habit = tuple(float(place) for place in range(size))
    actor_critic = make_actor_critic(env, options=ActorCriticOptions(initial_logits=habit))
    assert actor_critic.networks.logits.module[-1].bias.tolist() == list(habit)
    with pytest.raises(ConfigError, match=f"must hold {size} numbers"):
        make_actor_critic(env, options=ActorCriticOptions(initial_logits=(1.0,)))
