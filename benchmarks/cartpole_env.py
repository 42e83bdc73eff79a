"""Masked-velocity CartPole as a natively batched TorchRL environment."""

from __future__ import annotations

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from benchmarks.cartpole import SHOWN, CartPoles


class CartPoleEnv(EnvBase):
    """`CartPoles` with batch size [n]."""

    def __init__(self, n: int, seed: int = 0) -> None:
        super().__init__(device="cpu", batch_size=[n])
        self.carts = CartPoles(n, seed)
        flag = Categorical(2, shape=(n, 1), dtype=torch.bool)
        self.observation_spec = Composite(observation=Unbounded((n, len(SHOWN))), shape=(n,))
        self.action_spec = Categorical(2, shape=(n,))
        self.reward_spec = Unbounded((n, 1))
        self.done_spec = Composite(done=flag.clone(), terminated=flag.clone(), truncated=flag.clone(), shape=(n,))

    def _reset(self, tensordict: TensorDictBase | None, **kwargs: object) -> TensorDictBase:
        which = torch.ones(self.carts.n, dtype=torch.bool)
        if tensordict is not None and "_reset" in tensordict.keys():
            which = tensordict["_reset"].reshape(-1)
        observation = torch.from_numpy(self.carts.reset(which.numpy()))
        flags = {name: torch.zeros(self.carts.n, 1, dtype=torch.bool) for name in ("done", "terminated", "truncated")}
        return TensorDict({"observation": observation, **flags}, self.batch_size, device=self.device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        observation, terminated, truncated = self.carts.step(tensordict["action"].numpy())
        data = {
            "observation": torch.from_numpy(observation),
            "reward": torch.ones(self.carts.n, 1),
            "done": torch.from_numpy((terminated | truncated)[:, None]),
            "terminated": torch.from_numpy(terminated[:, None]),
            "truncated": torch.from_numpy(truncated[:, None]),
        }
        return TensorDict(data, self.batch_size, device=self.device)

    def _set_seed(self, seed: int | None) -> None:
        self.carts = CartPoles(self.carts.n, seed or 0)
