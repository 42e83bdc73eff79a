"""The collector's own loop against TorchRL's."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.collectors import Collector
from torchrl.data import Categorical, Composite, Unbounded
from torchrl.envs import (
    Compose,
    EnvBase,
    InitTracker,
    ParallelEnv,
    RewardSum,
    SerialEnv,
    StepCounter,
    TensorDictPrimer,
    TransformedEnv,
)

from benchmarks.cartpole_env import CartPoleEnv
from tamiyo_trl.collectors.lean import LeanCollector, below
from tamiyo_trl.collectors.steppers import PlainStepper, TorchRLStepper, stepper_of
from tamiyo_trl.data import SplitSizes
from tamiyo_trl.envs import GrowthConfig, GrowthEnv, HostTrainingConfig
from tamiyo_trl.envs.recall import RecallEnv
from tamiyo_trl.policies import ActorCriticOptions, SeparateTrunks, make_actor_critic
from tamiyo_trl.transforms import HiddenStateReset, PreviousAction

FLAGS = {"done", "terminated", "truncated"}
UNSTORED = FLAGS | {("next", "is_init"), "episode_reward"}


def recall() -> EnvBase:
    return RecallEnv(n_envs=5, seed=3)


class Terse(EnvBase):
    """Writes as little as TorchRL allows: no `done`, no flags at a reset, a nested entry beside the observation."""

    def __init__(self) -> None:
        super().__init__(batch_size=[2, 3])
        flag = Categorical(2, shape=(2, 3, 1), dtype=torch.bool)
        inner = Composite(clock=Unbounded((2, 3, 1)), shape=(2, 3))
        self.observation_spec = Composite(observation=Unbounded((2, 3, 2)), info=inner, shape=(2, 3))
        self.action_spec = Categorical(3, shape=(2, 3))
        self.reward_spec = Unbounded((2, 3, 1))
        self.done_spec = Composite(done=flag.clone(), terminated=flag.clone(), truncated=flag.clone(), shape=(2, 3))
        self.generator, self.clock = torch.Generator().manual_seed(0), torch.zeros(2, 3, 1)

    def _shown(self) -> dict:
        seen = torch.rand(2, 3, 2, generator=self.generator)
        return {"observation": seen, "info": TensorDict({"clock": self.clock}, [2, 3])}

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        every = torch.ones(2, 3, 1, dtype=torch.bool)
        which = every if tensordict is None else tensordict.get("_reset", every)
        self.clock = self.clock.masked_fill(which, 0.0)
        return TensorDict(self._shown(), [2, 3])

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        self.clock = self.clock + 1
        over = torch.rand(2, 3, 1, generator=self.generator) < 0.2
        reward = tensordict["action"].float().unsqueeze(-1)
        return TensorDict({**self._shown(), "reward": reward, "terminated": over & (self.clock > 1)}, [2, 3])

    def _set_seed(self, seed: int | None) -> None:
        self.generator.manual_seed(seed or 0)


def previous() -> EnvBase:
    return TransformedEnv(CartPoleEnv(4, seed=1), PreviousAction())


def serial() -> EnvBase:
    return SerialEnv(2, [lambda: RecallEnv(n_envs=3, seed=1), lambda: RecallEnv(n_envs=3, seed=2)])


def growth() -> EnvBase:
    sizes = {"splits": SplitSizes(train=64, val=32, test=32), "training": HostTrainingConfig(images_per_step=32)}
    return GrowthEnv(GrowthConfig(image_size=8, episode_steps=8, **sizes), n_envs=3, seed=5)


def batches(kind: type[Collector], env: EnvBase, policy: object, **options: object) -> list[TensorDictBase]:
    frames = env.batch_size.numel() * 30
    torch.manual_seed(7)
    collector = kind(env, policy, frames_per_batch=frames, total_frames=3 * frames, **options)
    return [batch.clone() for batch in collector]


CASES = [
    (make, memory, trunks)
    for make in (recall, previous, serial, lambda: CartPoleEnv(3), Terse)
    for memory in ("lstm", "gru", "mlp")
    for trunks in (None, SeparateTrunks())
]


@pytest.mark.parametrize(("make", "memory", "trunks"), [*CASES, (growth, "lstm", None)])
def test_every_stored_entry_equals_that_of_torchrl_s_collector(make, memory, trunks):
    options = ActorCriticOptions() if trunks is None else ActorCriticOptions(critic=trunks)
    actor_critic = make_actor_critic(make(), memory, hidden_size=8, encoder_size=8, options=options)
    policy = actor_critic.collection_policy()

    def wrap() -> EnvBase:
        return TransformedEnv(make(), actor_critic.transforms(), auto_unwrap=False)

    stock = {"trust_policy": True, "track_traj_ids": False, "auto_register_policy_transforms": False}
    expected = batches(Collector, wrap(), policy, **stock)
    env = wrap()
    assert below(env)[0] is env.base_env
    found = batches(LeanCollector, env, policy)
    assert len(found) == len(expected) == 3
    for one, two in zip(found, expected):
        assert one.shape == two.shape
        assert one.names == two.names
        unstored = UNSTORED | {("next", key) for key in actor_critic.state_keys}
        assert set(two.keys(True, True)) - set(one.keys(True, True)) == unstored
        for key in one.keys(True, True):
            if key in ("action_log_prob", "state_value"):  # of all steps at once: other sums
                torch.testing.assert_close(one[key], two[key])
            else:
                assert torch.equal(one[key], two[key]), key
        assert not any(two[key].any() for key in ("done", "terminated", "truncated", ("next", "is_init")))
    assert sum(batch["next", "done"].sum() for batch in found) > 3  # episodes ended inside


@pytest.mark.parametrize(
    "layers",
    [
        lambda primer: [[InitTracker(), primer, RewardSum(), StepCounter()]],
        lambda primer: [[InitTracker(), primer, RewardSum()], [HiddenStateReset(every=3)]],
        lambda primer: [[primer, RewardSum()]],
        lambda primer: [[InitTracker(), primer, RewardSum(["reward"], ["sum"])]],
        lambda primer: [[InitTracker("start"), primer, RewardSum()]],
        lambda primer: [[InitTracker(), TensorDictPrimer(primer.primers, default_value=1.0), RewardSum()]],
        lambda primer: [],
    ],
)
def test_any_other_arrangement_is_left_to_torchrl(layers):
    env = recall()
    memory = make_actor_critic(env, hidden_size=8, encoder_size=8).memory
    for layer in layers(memory.transforms()[0]):
        env = TransformedEnv(env, Compose(*layer), auto_unwrap=False)
    assert below(env)[0] is None


def test_only_environments_that_step_as_torchrl_does_are_stepped_by_their_maths_alone():
    class Own(Terse):
        def maybe_reset(self, tensordict: TensorDictBase) -> TensorDictBase:
            return super().maybe_reset(tensordict)

    assert isinstance(stepper_of(Terse()), PlainStepper)
    assert isinstance(stepper_of(CartPoleEnv(3)), PlainStepper)
    for env in (Own(), serial(), previous()):
        assert isinstance(stepper_of(env), TorchRLStepper)


def test_environments_in_other_processes_are_left_to_torchrl():
    env = ParallelEnv(2, [recall, recall])
    primer = make_actor_critic(recall(), hidden_size=8, encoder_size=8).memory.transforms()[0]
    layers = TransformedEnv(
        TransformedEnv(env, StepCounter()), Compose(InitTracker(), primer, RewardSum()), auto_unwrap=False
    )
    assert below(layers)[0] is None
    layers.close(raise_if_closed=False)
