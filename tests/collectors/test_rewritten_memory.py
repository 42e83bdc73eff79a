"""Environments that reuse their memory: what is stored is what was seen, by every way of collecting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict, TensorDictBase
from torchrl.collectors import Collector
from torchrl.data import Binary, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase, SerialEnv, StepCounter, TransformedEnv

from tamiyo_trl.collectors.collector import make_collector
from tamiyo_trl.objectives import PPOConfig, PPOLearner, check_ratio
from tamiyo_trl.policies import make_actor_critic

SHOWN = ("observation", "action_mask", "reward", "done", "terminated", "truncated", "gauge")
FLAGS = ("done", "terminated", "truncated")


class Reusing(EnvBase):
    """Counts steps; writes the entries named in `reused` into one buffer each, for good, and scribbles on its input."""

    def __init__(self, batch: tuple[int, ...], reused: frozenset[str], dtype: torch.dtype, scribbles: bool) -> None:
        super().__init__(device="cpu", batch_size=torch.Size(batch))
        self.reused, self.dtype_, self.scribbles, self.buffers = reused, dtype, scribbles, {}
        B = self.batch_size
        self.clock = torch.zeros(*B, 1)
        self.lengths = 2 + torch.arange(self.clock.numel()).reshape(self.clock.shape) % 4
        inner = Composite(gauge=Unbounded(shape=(*B, 1)), shape=B)
        mask = Binary(shape=(*B, 3), dtype=torch.bool)
        self.observation_spec = Composite(observation=Unbounded(shape=(*B, 2)), action_mask=mask, info=inner, shape=B)
        self.action_spec = Categorical(3, shape=B)
        self.reward_spec = Unbounded(shape=(*B, 1), dtype=dtype)
        self.full_done_spec = Composite({k: Binary(1, shape=(*B, 1), dtype=torch.bool) for k in FLAGS}, shape=B)

    def _set_seed(self, seed: int | None) -> None:
        """Nothing is random."""

    def _kept(self, name: str, value: torch.Tensor) -> torch.Tensor:
        if name not in self.reused:
            return value.clone()
        return self.buffers.setdefault(name, value.clone()).copy_(value)

    def _show(self, over: torch.Tensor, **more: torch.Tensor) -> TensorDictBase:
        late = self.lengths % 2 == 0
        mask = torch.arange(3).expand(*self.batch_size, 3) != self.clock.long() % 3
        shown = {"observation": torch.cat([self.clock, self.clock % 2], -1), "action_mask": mask, "done": over}
        shown |= {"terminated": over & late, "truncated": over & ~late, **more}
        info = TensorDict({"gauge": self._kept("gauge", self.clock)}, self.batch_size)
        return TensorDict(
            {key: self._kept(key, value) for key, value in shown.items()} | {"info": info}, self.batch_size
        )

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        rows = torch.ones_like(self.clock, dtype=torch.bool)
        if tensordict is not None and "_reset" in tensordict.keys():
            rows = tensordict["_reset"].reshape(rows.shape).clone()
        self.clock = torch.where(rows, 0.0, self.clock)
        return self._show(torch.zeros_like(rows))

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        self.clock = self.clock + 1
        if self.scribbles:
            for key in ("observation", "action", "action_mask"):
                tensordict[key].zero_()
        return self._show(self.clock >= self.lengths, reward=(10 * self.clock).to(self.dtype_))


def plain(*kind: object) -> EnvBase:
    return Reusing(*kind)


def below_another_transform(*kind: object) -> EnvBase:
    return TransformedEnv(Reusing(*kind), StepCounter())


def served_by_torchrl(*kind: object) -> EnvBase:
    return SerialEnv(2, [lambda: Reusing(*kind)] * 2)


def batches(env: EnvBase, actor_critic: object, stock: bool) -> list[TensorDictBase]:
    frames = env.batch_size.numel() * 11
    torch.manual_seed(0)
    if not stock:
        return list(make_collector(env, actor_critic, frames, 2 * frames))
    wrapped = TransformedEnv(env, actor_critic.transforms(), auto_unwrap=False)
    policy = actor_critic.collection_policy()
    collector = Collector(wrapped, policy, frames_per_batch=frames, total_frames=2 * frames, trust_policy=True)
    return [batch.clone() for batch in collector]


@settings(max_examples=60)
@given(
    reused=st.frozensets(st.sampled_from(SHOWN), min_size=1),
    batch=st.sampled_from([(), (3,), (2, 2)]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.int8, torch.uint8, torch.bool, torch.int64]),
    make=st.sampled_from([plain, below_another_transform, served_by_torchrl]),
    memory=st.sampled_from(["lstm", "mlp", "frames"]),
    scribbles=st.booleans(),
    stock=st.booleans(),
)
def test_every_stored_entry_is_what_was_seen_when_it_was_seen(reused, batch, dtype, make, memory, scribbles, stock):
    found = []
    for kind in ((batch, frozenset(), dtype, False), (batch, reused, dtype, scribbles)):
        env = make(*kind)
        actor_critic = make_actor_critic(env, memory, hidden_size=4, encoder_size=4)
        found.append(batches(env, actor_critic, stock))
    for honest, reusing in zip(*found, strict=True):
        for key in honest.keys(True, True):
            assert torch.equal(honest[key], reusing[key]), key
    rewards, ends = found[1][0]["next", "reward"], found[1][0]["next", "done"]
    total = found[1][0]["next", "episode_reward"]
    assert ends.any()
    if dtype is not torch.bool:
        assert len(rewards.unique()) > 1
    assert total.dtype in (torch.float32, torch.float64)


@pytest.mark.parametrize("memory", ["lstm", "mlp"])
@pytest.mark.parametrize("name", SHOWN)
def test_the_ratio_check_and_the_learner_see_the_steps_as_they_were(memory, name):
    env = Reusing((4,), frozenset({name}), torch.float32, True)
    actor_critic = make_actor_critic(env, memory, hidden_size=4, encoder_size=4)
    report = check_ratio(actor_critic, TransformedEnv(env, actor_critic.transforms()), steps=20)
    assert report.ok, report
    learner = PPOLearner(actor_critic, PPOConfig(slice_len=4, minibatches=2))
    for batch in make_collector(env, actor_critic, 40, 80):
        learner.update(batch)
    assert batch["next", "done"].sum() > 4


@pytest.mark.parametrize(("dtype", "paid"), [(torch.int8, 100), (torch.uint8, 200), (torch.bool, 1)])
def test_returns_are_added_up_in_a_type_that_holds_them(dtype, paid):
    class Pays(Reusing):
        def _step(self, tensordict):
            return super()._step(tensordict).set("reward", torch.full((*self.batch_size, 1), paid).to(dtype))

    for make in (lambda env: env, lambda env: TransformedEnv(env, StepCounter())):
        env = make(Pays((3,), frozenset(), dtype, False))
        actor_critic = make_actor_critic(env, "mlp", hidden_size=4, encoder_size=4)
        (batch,) = make_collector(env, actor_critic, 33, 33)
        ends = batch["next", "done"].squeeze(-1)
        returns = batch["next", "episode_reward"].squeeze(-1)
        assert returns[ends].unique().tolist() == [2.0 * paid, 3.0 * paid, 4.0 * paid]
