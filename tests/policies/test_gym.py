"""Gymnasium environments, wrapped by TorchRL, are served like any other; skipped where gymnasium is not installed."""

from __future__ import annotations

from typing import Any

import pytest

gymnasium = pytest.importorskip("gymnasium")

import numpy as np  # noqa: E402 (after the skip)
from torchrl.envs import GymEnv, GymWrapper, TransformedEnv  # noqa: E402

from tamiyo_trl.collectors.collector import make_collector  # noqa: E402
from tamiyo_trl.errors import SpecError  # noqa: E402
from tamiyo_trl.objectives import PPOConfig, PPOLearner  # noqa: E402
from tamiyo_trl.policies import make_actor_critic  # noqa: E402


class MaskedGym(gymnasium.Env):  # type: ignore[misc]  # gymnasium may be absent when types are checked
    """Two heads under independent masks of zeros and ones; an illegal action fails the episode."""

    observation_space = gymnasium.spaces.Dict(
        {
            "observation": gymnasium.spaces.Box(-1, 1, (3,), np.float32),
            "action_mask": gymnasium.spaces.MultiBinary(5),
        }
    )
    action_space = gymnasium.spaces.MultiDiscrete([2, 3])

    def _show(self) -> dict[str, Any]:
        self.mask = self.np_random.random(5) < 0.5
        self.mask[[0, 2]] = True
        return {"observation": self.observation_space["observation"].sample(), "action_mask": self.mask.astype(np.int8)}

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._show(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        assert self.mask[action[0]]
        assert self.mask[2 + action[1]]
        self.steps += 1
        return self._show(), 1.0, self.steps >= 7, False, {}


def make(name: str, categorical: bool) -> Any:
    if name == "masked":
        return GymWrapper(MaskedGym(), categorical_action_encoding=categorical)
    return GymEnv(name, categorical_action_encoding=categorical)


@pytest.mark.parametrize("memory", ["lstm", "gru", "mlp", "frames"])
@pytest.mark.parametrize("categorical", [True, False])
@pytest.mark.parametrize("name", ["CartPole-v1", "masked"])
def test_gym_environments_are_collected_and_trained_on(name: str, categorical: bool, memory: str) -> None:
    env = make(name, categorical)
    actor_critic = make_actor_critic(env, memory, hidden_size=8, encoder_size=8)
    wrapped = TransformedEnv(env, actor_critic.transforms())
    batch = wrapped.rollout(60, actor_critic.collection_policy(), break_when_any_done=False)
    metrics = PPOLearner(actor_critic, PPOConfig(slice_len=8, epochs=1)).update(batch.detach())
    assert metrics["ppo/max_ratio_first"] == pytest.approx(1.0, abs=1e-5)
    assert (actor_critic.mask_key is not None) == (name == "masked")


@pytest.mark.parametrize(
    ("name", "message"),
    [("Pendulum-v1", "BoundedContinuous cannot be served")],
)
def test_gym_environments_that_cannot_be_served_are_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make_actor_critic(GymEnv(name))


def test_a_vector_environment_that_hides_an_episode_s_last_observation_is_refused():
    env = GymEnv("CartPole-v1", num_envs=2, categorical_action_encoding=True)
    actor_critic = make_actor_critic(env, "mlp", hidden_size=4, encoder_size=4)
    with pytest.raises(SpecError, match="NEXT_STEP"):
        make_collector(env, actor_critic, 32, 32)
    env.close()
