"""HiddenStateReset makes the policy forget and leaves the episode alone."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDictBase
from torch import nn
from torchrl.data import Unbounded
from torchrl.envs import Compose, InitTracker, RewardSum, StepCounter, TensorDictPrimer, TransformedEnv
from torchrl.modules import set_recurrent_mode

from tamiyo_trl import keys
from tamiyo_trl.envs.recall import RecallConfig, RecallEnv
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import GRU, LSTM, ActorCritic, make_actor_critic
from tamiyo_trl.transforms import HiddenStateReset

CONFIG = RecallConfig(delay=5, jitter=3)


def lively(recipe: LSTM | GRU | str, seed: int = 0) -> ActorCritic:
    actor_critic = make_actor_critic(RecallEnv(CONFIG), recipe, hidden_size=6, encoder_size=6)
    torch.manual_seed(seed)
    for parameter in actor_critic.parameters():
        nn.init.normal_(parameter, std=0.5)
    return actor_critic


def collect(actor_critic: ActorCritic, *resets: HiddenStateReset, steps: int = 40) -> TensorDictBase:
    transforms = Compose(*actor_critic.transforms(), *resets, StepCounter())
    env = TransformedEnv(RecallEnv(CONFIG, n_envs=6, seed=3), transforms)
    with torch.no_grad():
        return env.rollout(steps, actor_critic.collection_policy(), break_when_any_done=False)


@pytest.mark.parametrize(
    ("reset", "due"),
    [
        (HiddenStateReset(every=3), {3, 6, 9}),
        (HiddenStateReset(every=1), set(range(1, 10))),
        (HiddenStateReset(at=(2, 7)), {2, 7}),
        (HiddenStateReset(at=[100]), set()),
    ],
)
def test_the_state_starts_anew_and_is_init_is_raised_exactly_when_due(reset: HiddenStateReset, due: set[int]) -> None:
    batch = collect(lively("lstm"), reset.clone())
    step = batch["step_count"]
    expected = torch.isin(step, torch.tensor([0, *due]))
    assert torch.equal(batch[keys.IS_INIT], expected)
    assert torch.equal(batch["episode_step"], step)
    blank = (batch[keys.HIDDEN_H] == 0).flatten(2).all(-1, keepdim=True) & (batch[keys.HIDDEN_C] == 0).flatten(2).all(
        -1, keepdim=True
    )
    assert torch.equal(blank, expected)


def test_episodes_and_their_statistics_are_those_of_a_run_without_it() -> None:
    actor_critic = make_actor_critic(RecallEnv(CONFIG), "lstm", hidden_size=6, encoder_size=6)
    for parameter in actor_critic.networks.logits.parameters():
        nn.init.zeros_(parameter)  # a policy that acts alike whatever it remembers
    runs = []
    for resets in ([], [HiddenStateReset(every=2)]):
        torch.manual_seed(1)
        runs.append(collect(actor_critic, *resets))
    plain, ablated = runs
    for key in (
        "step_count",
        keys.OBSERVATION,
        keys.ACTION,
        keys.DONE,
        keys.EPISODE_REWARD,
        ("next", keys.REWARD),
        ("next", keys.DONE),
        ("next", keys.EPISODE_REWARD),
    ):
        assert torch.equal(plain[key], ablated[key]), key
    assert torch.equal(ablated["episode_step"] == 0, plain[keys.IS_INIT])
    assert ablated[keys.IS_INIT].sum() > plain[keys.IS_INIT].sum()


@pytest.mark.parametrize("recipe", [LSTM(), LSTM(2, True, True), GRU(learned_start=True)])
def test_a_forgetful_policy_does_what_a_new_episode_would(recipe: LSTM | GRU) -> None:
    actor_critic = lively(recipe)
    batch = collect(actor_critic, HiddenStateReset(every=4), steps=12)
    piece = batch[:, 4:8].select(*actor_critic.policy.in_keys)
    for key in actor_critic.state_keys:
        piece[key] = torch.zeros_like(piece[key])
    with torch.no_grad(), set_recurrent_mode(True):
        fresh = actor_critic.policy.get_dist(piece).log_prob(batch[keys.ACTION][:, 4:8])
    torch.testing.assert_close(fresh, batch[keys.LOG_PROB][:, 4:8])


@pytest.mark.parametrize("recipe", [LSTM(), GRU(), LSTM(2, True, True)])
def test_the_update_recomputes_what_the_forgetful_policy_did(recipe: LSTM | GRU) -> None:
    actor_critic = lively(recipe)
    batch = collect(actor_critic, HiddenStateReset(every=3))
    data = batch.select(*actor_critic.policy.in_keys)
    with torch.no_grad(), set_recurrent_mode(True):
        log_prob = actor_critic.policy.get_dist(data).log_prob(batch[keys.ACTION])
    torch.testing.assert_close(log_prob, batch[keys.LOG_PROB], rtol=0, atol=1e-5)
    metrics = PPOLearner(actor_critic, PPOConfig(slice_len=8)).update(batch)
    assert metrics["ppo/max_ratio_first"] == pytest.approx(1.0, abs=1e-5)


def test_the_start_is_what_the_primer_gives() -> None:
    env = RecallEnv(n_envs=4)
    primer = TensorDictPrimer({"trace": Unbounded(shape=(2,))}, default_value=0.5, expand_specs=True)
    env = TransformedEnv(env, Compose(InitTracker(), primer, HiddenStateReset(every=2)))

    def act(tensordict: TensorDictBase) -> TensorDictBase:
        tensordict["next", "trace"] = tensordict["trace"] + 1
        return env.rand_action(tensordict)

    batch = env.rollout(6, act, break_when_any_done=False)
    assert batch["trace"][0, :, 0].tolist() == [0.5, 1.5, 0.5, 1.5, 0.5, 1.5]


def test_chosen_states_alone_are_reset() -> None:
    actor_critic = lively("lstm")
    batch = collect(actor_critic, HiddenStateReset(every=3, state_keys=[keys.HIDDEN_H]))
    due = (batch["episode_step"] == 3).squeeze(-1)
    assert (batch[keys.HIDDEN_H][due] == 0).all()
    assert (batch[keys.HIDDEN_C][due] != 0).any()


def test_partial_resets_keep_the_step_of_episodes_that_go_on() -> None:
    env = TransformedEnv(RecallEnv(n_envs=3), Compose(*lively("gru").transforms(), HiddenStateReset(every=50)))
    step = env.rollout(4)["next"][:, -1]
    rows = torch.tensor([[True], [False], [False]])
    after = env.reset(step.clone().set("_reset", rows))
    assert after["episode_step"].flatten().tolist() == [0, 4, 4]


@pytest.mark.parametrize("settings", [{}, {"every": 2, "at": (1,)}, {"every": 0}, {"at": (0,)}, {"at": (3, -1)}])
def test_unclear_schedules_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="every"):
        HiddenStateReset(**settings)  # type: ignore[arg-type]  # the mistakes under test


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("reset tracker primer", "InitTracker"),
        ("tracker reset primer", "primers"),
        ("primer reset", "InitTracker"),
        ("tracker reset", "primers"),
    ],
)
def test_a_place_before_tracker_or_primers_is_refused(order: str, message: str) -> None:
    primer = lively("gru").memory.transforms()[0]
    parts = {"tracker": InitTracker(), "primer": primer, "reset": HiddenStateReset(every=2)}
    env = TransformedEnv(RecallEnv(n_envs=2), Compose(*(parts[name] for name in order.split())))
    with pytest.raises(ValueError, match=f"must come after.*{message}"):
        env.reset()


def test_rewards_still_add_up() -> None:
    actor_critic = lively("gru")
    env = TransformedEnv(
        RecallEnv(n_envs=4),
        Compose(
            *actor_critic.transforms(), HiddenStateReset(every=2), RewardSum(in_keys=["reward"], out_keys=["twin"])
        ),
    )
    batch = env.rollout(30, actor_critic.collection_policy(), break_when_any_done=False)
    assert torch.equal(batch["next", "twin"], batch["next", keys.EPISODE_REWARD])


def test_what_a_step_reads_is_declared() -> None:
    env = TransformedEnv(RecallEnv(n_envs=2), Compose(*lively("gru").transforms(), HiddenStateReset(every=2)))
    assert {"episode_step", keys.HIDDEN} <= set(env.state_spec.keys(True, True))
    assert env.observation_spec["episode_step"].dtype == torch.int64
