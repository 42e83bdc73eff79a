"""Every form of action, mask and observation that is served: over generated environments, by way of the learner."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Categorical, Composite, MultiCategorical, MultiOneHot, OneHot, Unbounded
from torchrl.envs import EnvBase, ExplorationType, TransformedEnv, set_exploration_type

from tamiyo_trl.collectors.collector import make_collector
from tamiyo_trl.errors import IllegalActionError, SpecError
from tamiyo_trl.objectives import PPOConfig, PPOLearner, check_ratio
from tamiyo_trl.policies import ActorCriticOptions, make_actor_critic
from tamiyo_trl.policies.actions import heads_of
from tamiyo_trl.policies.heads.factors import factorise
from tamiyo_trl.policies.heads.legality import is_allowed, is_playable

FLAGS = ("done", "terminated", "truncated")
SMALL = {"hidden_size": 4, "encoder_size": 4}
LEARN = PPOConfig(slice_len=4, minibatches=1, epochs=1)


class Formed(EnvBase):
    """Shows the entries it is told to, takes the action it is told to; nothing is legal at steps `dead` on."""

    def __init__(self, batch=(3,), action=None, mask=None, shown=None, dead=math.inf) -> None:
        super().__init__(device="cpu", batch_size=torch.Size(batch))
        B = self.batch_size
        self.clock, self.dead, self.mask = torch.zeros(*B, 1), dead, mask
        specs = shown or {"observation": Unbounded(shape=(*B, 2))}
        if mask is not None:
            specs = specs | {"action_mask": Binary(shape=(*B, *mask.shape), dtype=torch.bool)}
        self.observation_spec = Composite(specs, shape=B)
        self.action_spec = action if action is not None else Categorical(3, shape=B)
        self.reward_spec = Unbounded(shape=(*B, 1))
        self.full_done_spec = Composite({k: Binary(1, shape=(*B, 1), dtype=torch.bool) for k in FLAGS}, shape=B)

    def _set_seed(self, seed: int | None) -> None:
        """The global generator is enough."""

    def _show(self, over: torch.Tensor) -> dict:
        shown = self.observation_spec.rand().to_dict()
        if self.mask is not None:
            alive = (self.clock < self.dead).reshape(*self.batch_size, *[1] * self.mask.ndim)
            shown["action_mask"] = self.mask.expand(*self.batch_size, *self.mask.shape) & alive
        return shown | {"done": over, "terminated": over.clone(), "truncated": torch.zeros_like(over)}

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        rows = torch.ones_like(self.clock, dtype=torch.bool)
        if tensordict is not None and "_reset" in tensordict.keys():
            rows = tensordict["_reset"].reshape(rows.shape)
        self.clock = torch.where(rows, 0.0, self.clock)
        return TensorDict(self._show(torch.zeros_like(rows)), self.batch_size)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        assert self.action_spec.is_in(tensordict["action"])
        self.clock = self.clock + 1
        reward = {"reward": torch.randn(*self.batch_size, 1)}
        return TensorDict(self._show(self.clock >= 5) | reward, self.batch_size)


def learned(env: EnvBase, memory: str = "lstm", **settings: object) -> TensorDictBase:
    """Collect two batches, learn from both, and return the last."""
    actor_critic = make_actor_critic(env, memory, **SMALL, **settings)
    frames = env.batch_size.numel() * 8
    learner = PPOLearner(actor_critic, LEARN)
    for batch in make_collector(env, actor_critic, frames, 2 * frames):
        metrics = learner.update(batch)
        assert math.isfinite(metrics["loss/policy"])
    return batch


CODES = {
    "multi": lambda nvec, B: MultiCategorical(nvec, shape=(*B, len(nvec))),
    "multionehot": lambda nvec, B: MultiOneHot(nvec, shape=(*B, sum(nvec))),
    "equal": lambda nvec, B: Categorical(nvec[0], shape=(*B, len(nvec))),
    "equal onehot": lambda nvec, B: OneHot(nvec[0], shape=(*B, len(nvec), nvec[0])),
    "switches": lambda nvec, B: Binary(len(nvec), shape=(*B, len(nvec)), dtype=torch.int8),
}


@settings(max_examples=40)
@given(data=st.data())
def test_every_layout_of_heads_is_served_and_its_mask_obeyed(data):
    code = data.draw(st.sampled_from(sorted(CODES)))
    batch = data.draw(st.sampled_from([(), (3,), (2, 2)]))
    if code == "switches":
        nvec = (2,) * data.draw(st.integers(1, 4))
    elif code.startswith("equal"):
        nvec = (data.draw(st.integers(2, 4)),) * data.draw(st.integers(1, 3))
    else:
        nvec = tuple(data.draw(st.lists(st.integers(2, 4), min_size=1, max_size=3)))
    joint = data.draw(st.booleans()) and len(nvec) > 1
    mask = torch.rand(nvec if joint else (sum(nvec),)) < 0.5
    mask.view(-1)[0 if joint else slice(None, None)] |= torch.tensor(True) if joint else _firsts(nvec)
    env = Formed(batch, CODES[code](nvec, batch), mask)
    batch_of = learned(env)
    heads = heads_of(env.action_spec, env.batch_size)
    assert heads.nvec == nvec
    index = heads.decode(batch_of["action"])
    assert torch.equal(heads.encode(index), batch_of["action"])
    assert is_allowed(batch_of["action_mask"], index, nvec, None, joint).all()


def _firsts(nvec: tuple[int, ...]) -> torch.Tensor:
    """The first value of every head, side by side."""
    return torch.cat([torch.arange(n) == 0 for n in nvec])


REAL = [torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool]


def entry(B: tuple[int, ...], size: int, dtype: torch.dtype) -> Unbounded | Binary:
    return Binary(shape=(*B, size), dtype=dtype) if dtype is torch.bool else Unbounded(shape=(*B, size), dtype=dtype)


@settings(max_examples=30)
@given(
    dtypes=st.lists(st.sampled_from(REAL), min_size=1, max_size=3),
    batch=st.sampled_from([(), (3,), (2, 2)]),
    memory=st.sampled_from(["lstm", "gru", "mlp", "frames"]),
)
def test_observations_of_every_real_type_are_served_alone_and_side_by_side(dtypes, batch, memory):
    names = [f"view_{k}" for k in range(len(dtypes))]
    env = Formed(batch, shown={name: entry(batch, 4 + k, dtype) for k, (name, dtype) in enumerate(zip(names, dtypes))})
    for spec in env.observation_spec.values():
        if spec.dtype.is_floating_point:
            continue
        spec.rand()
    read = tuple(reversed(names))
    found = learned(env, memory, observation_key=read if len(read) > 1 else read[0])
    if len(read) > 1:
        for part in (found, found["next"]):
            expected = torch.cat([part[name].double() for name in read], -1)
            torch.testing.assert_close(part["observed"].double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("extra", [torch.float32, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(2,), (), (4, 4, 3)])
def test_entries_that_the_policy_would_ignore_are_refused_by_name(extra, shape):
    shown = {"observation": Unbounded(shape=(3, 2)), "goal": Unbounded(shape=(3, *shape), dtype=extra)}
    env = Formed(shown=shown)
    with pytest.raises(SpecError, match=r"would ignore \['goal'\].*observation_key=\('observation', 'goal'\)"):
        make_actor_critic(env)
    assert make_actor_critic(env, observation_key="observation").observation_key == "observation"


def test_an_order_of_keys_is_kept_and_each_may_be_named_once():
    shown = {"b": Unbounded(shape=(3, 1)), "a": Unbounded(shape=(3, 2))}
    found = learned(Formed(shown=shown), observation_key=("b", "a"))
    assert torch.equal(found["observed"], torch.cat([found["b"], found["a"]], -1))
    with pytest.raises(SpecError, match="each once"):
        make_actor_critic(Formed(shown=shown), observation_key=("a", "a"))


DEAD = [
    (None, torch.tensor([True, True, False])),
    (MultiCategorical((2, 3), shape=(3, 2)), torch.ones(5, dtype=torch.bool)),
    (MultiCategorical((2, 3), shape=(3, 2)), torch.ones(2, 3, dtype=torch.bool)),
]


@pytest.mark.parametrize("memory", ["lstm", "mlp", "frames"])
@pytest.mark.parametrize(("action", "mask"), DEAD)
def test_a_step_at_which_nothing_is_legal_is_an_error_that_names_it(action, mask, memory):
    env = Formed(action=action, mask=mask, dead=3)
    actor_critic = make_actor_critic(env, memory, **SMALL)
    with pytest.raises(IllegalActionError, match="nothing is legal: the mask 'action_mask' of environment 0") as error:
        next(iter(make_collector(env, actor_critic, 24, 24)))
    if memory != "frames":
        assert "at step 3 of its batch" in str(error.value)
    with pytest.raises(IllegalActionError, match="nothing is legal"), torch.no_grad():
        TransformedEnv(env, actor_critic.transforms()).rollout(8, actor_critic.collection_policy())


def test_a_head_without_a_legal_value_is_named():
    mask = torch.tensor([True, True, False, False, False])
    env = Formed(action=MultiCategorical((2, 3), shape=(3, 2)), mask=mask)
    actor_critic = make_actor_critic(env, **SMALL, options=ActorCriticOptions(head_names=("op", "site")))
    with pytest.raises(IllegalActionError, match="every value of head 'site'"):
        next(iter(make_collector(env, actor_critic, 24, 24)))


@given(
    mask=st.lists(st.booleans(), min_size=7, max_size=7),
    table=st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=2, max_size=2),
)
def test_an_op_that_needs_a_head_without_legal_values_is_never_chosen(mask, table):
    nvec, relevant = (2, 2, 3), torch.tensor([[True, *row] for row in table])
    legal = torch.tensor([mask])
    heads = list(legal.split(nvec, -1))
    by_hand = [heads[0][0, op] and all(heads[k][0].any() for k in (1, 2) if relevant[op, k]) for op in range(nvec[0])]
    assert bool(is_playable(legal, nvec, relevant, joint=False)) == any(by_hand)
    if any(by_hand):
        drawn = factorise(torch.randn(1, 7), legal, nvec, relevant).sample((200,))[:, 0]
        assert {int(op) for op in drawn[:, 0].unique()} == {op for op in range(2) if by_hand[op]}
        assert is_allowed(legal.expand(200, -1), drawn, nvec, relevant, joint=False).all()


@pytest.mark.parametrize("kind", list(ExplorationType))
def test_evaluation_by_mean_or_median_is_by_the_mode(kind):
    env = Formed(action=MultiCategorical((2, 3), shape=(3, 2)), mask=torch.ones(2, 3, dtype=torch.bool))
    actor_critic = make_actor_critic(env, **SMALL)
    shown = TransformedEnv(env, actor_critic.transforms()).reset()
    policies = (actor_critic.collection_policy(), actor_critic.policy)
    with torch.no_grad(), set_exploration_type(kind):
        found = {tuple(policy(shown.clone())["action"].flatten().tolist()) for policy in policies for _ in range(30)}
    assert (len(found) > 1) == (kind is ExplorationType.RANDOM)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"action": Categorical(2, shape=(3,))}, r"heads of \(2,\) values, not \(3,\)"),
        ({"action": Categorical(5, shape=(3,))}, r"heads of \(5,\)"),
        ({"action": OneHot(3, shape=(3, 3))}, "written as OneHotHeads"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, "a mask 'action_mask', which the policy does not read"),
        ({"shown": {"observation": Unbounded(shape=(3, 4))}}, "has 4 features, not 2"),
        ({"shown": {"view": Unbounded(shape=(3, 2))}}, "no observation 'observation'"),
        ({"shown": {"observation": Unbounded(shape=(3, 2)), "goal": Unbounded(shape=(3, 2))}}, "would ignore"),
    ],
)
def test_a_policy_that_meets_another_environment_is_told_the_difference(other, message):
    actor_critic = make_actor_critic(Formed(), **SMALL)
    env = Formed(**other)
    with pytest.raises(SpecError, match=message):
        make_collector(env, actor_critic, 24, 24)
    with pytest.raises(SpecError, match=message):
        actor_critic.check_env(TransformedEnv(env, actor_critic.transforms()))


@pytest.mark.parametrize("memory", ["lstm", "gru", "mlp", "frames"])
def test_a_policy_recognises_its_own_environment_bare_and_transformed_in_any_batch(memory):
    actor_critic = make_actor_critic(Formed(mask=torch.ones(3, dtype=torch.bool)), memory, **SMALL)
    for batch in ((), (3,), (2, 2)):
        env = Formed(batch, mask=torch.ones(3, dtype=torch.bool))
        actor_critic.check_env(env)
        actor_critic.check_env(TransformedEnv(env, actor_critic.transforms()))
        assert check_ratio(actor_critic, TransformedEnv(env, actor_critic.transforms()), steps=8).ok


@pytest.mark.parametrize("trailing", [(), (2,), (1, 1)])
def test_rewards_of_another_shape_are_refused_by_name(trailing):
    env = Formed()
    env.set_spec_lock_(False)
    env.reward_spec = Unbounded(shape=(3, *trailing))
    with pytest.raises(SpecError, match="'reward' has dtype .* one real number"):
        make_actor_critic(env)
