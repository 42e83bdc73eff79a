"""sb3-contrib's RecurrentPPO on the same CartPole, with the same networks; needs only NumPy, torch and sb3-contrib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from benchmarks.cartpole import SHOWN, CartPoles
from benchmarks.sizes import Sizes


class Encoder(BaseFeaturesExtractor):
    """Linear and ReLU before the LSTM, as in our policy."""

    def __init__(self, observation_space: gymnasium.Space, features_dim: int) -> None:
        super().__init__(observation_space, features_dim)
        self.net = nn.Sequential(nn.Linear(len(SHOWN), features_dim), nn.ReLU())

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return what the LSTM reads."""
        encoded: torch.Tensor = self.net(observation)
        return encoded


class CartPoleVec(VecEnv):
    """`CartPoles` as stable-baselines3 wants them, without a Python loop over environments."""

    def __init__(self, n: int, seed: int = 0) -> None:
        self.carts = CartPoles(n, seed)
        box = gymnasium.spaces.Box(-np.inf, np.inf, (len(SHOWN),), np.float32)
        super().__init__(n, box, gymnasium.spaces.Discrete(2))
        self.render_mode = None
        self.returns = np.zeros(n)

    def reset(self) -> np.ndarray:
        """Begin new episodes everywhere."""
        return self.carts.reset(np.ones(self.num_envs, dtype=bool))

    def step_async(self, actions: np.ndarray) -> None:
        """Remember what to do."""
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step; finished episodes begin anew and leave their last observation in the info."""
        shown, terminated, truncated = self.carts.step(self.actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            for i in done.nonzero()[0]:
                infos[i] = {"terminal_observation": shown[i], "TimeLimit.truncated": bool(truncated[i])}
            shown = self.carts.reset(done)
        return shown, np.ones(self.num_envs, dtype=np.float32), done, infos

    def close(self) -> None:
        """Do nothing."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the attribute, once per environment."""
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: nothing can be set."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Refuse: there are no methods to call."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Return that nothing is wrapped."""
        return [False] * self.num_envs

    def seed(self, seed: int | None = None) -> Sequence[None]:
        """Seed the carts."""
        self.carts = CartPoles(self.num_envs, seed or 0)
        return [None] * self.num_envs


class Stop(BaseCallback):
    """Never stops; there because `learn` wants one set up once."""

    def _on_step(self) -> bool:
        return True


class Sb3:
    """RecurrentPPO with one LSTM for policy and value, the faster of its two ways."""

    def __init__(self, sizes: Sizes) -> None:
        self.batch = sizes.envs * sizes.steps
        policy = {
            "features_extractor_class": Encoder,
            "features_extractor_kwargs": {"features_dim": sizes.encoder},
            "net_arch": {"pi": [sizes.hidden // 2], "vf": [sizes.hidden // 2]},
            "activation_fn": nn.ReLU,
            "lstm_hidden_size": sizes.hidden,
            "shared_lstm": True,
            "enable_critic_lstm": False,
        }
        self.model = RecurrentPPO(
            "MlpLstmPolicy",
            CartPoleVec(sizes.envs),
            n_steps=sizes.steps,
            batch_size=self.batch // sizes.minibatches,
            n_epochs=sizes.epochs,
            learning_rate=3e-4,
            ent_coef=0.01,
            seed=0,
            device="cpu",
            policy_kwargs=policy,
        )
        _, self.callback = self.model._setup_learn(10**9, Stop(), True, "benchmark", False)

    def advance(self) -> int:
        """Collect one batch and learn from it, as `learn` does between two log lines."""
        model = self.model
        model.collect_rollouts(model.env, self.callback, model.rollout_buffer, n_rollout_steps=model.n_steps)
        model.train()
        return self.batch
