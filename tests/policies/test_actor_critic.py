"""make_actor_critic serves every environment of the zoo with every memory."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import InteractionType, set_interaction_type
from torchrl.collectors import Collector
from torchrl.envs import TransformedEnv, check_env_specs
from torchrl.modules import GRUModule, LSTMModule, set_recurrent_mode

from tamiyo_trl import keys
from tamiyo_trl.envs import RecallEnv
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.objectives import PPOLearner
from tamiyo_trl.policies import GRU, LSTM, ActorCriticOptions, Frames, MemoryCore, SeparateTrunks, make_actor_critic
from tests.policies.zoo import KINDS, LEARN, SMALL, Kind, ZooEnv, lively, recomputed, rollout

MEMORIES = ["lstm", "gru", "mlp", "frames"]


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
    actor_critic = lively(make_actor_critic(env, memory, **SMALL, options=ActorCriticOptions(critic=SeparateTrunks())))
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
