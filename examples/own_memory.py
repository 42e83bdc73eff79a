"""Give a policy a memory of one's own: python examples/own_memory.py"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchrl.envs import TransformedEnv

from tamiyo_trl.envs.recall import RecallConfig, RecallEnv
from tamiyo_trl.objectives import PPOConfig, PPOLearner, check_ratio
from tamiyo_trl.policies import MemoryCore, make_actor_critic
from tamiyo_trl.training import TrainConfig, train


class MinimalGRU(MemoryCore):
    """One gate that says how much of the state is written anew; sequences are walked by the base class."""

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__(hidden, state_shapes={"trace": (1, hidden)})  # [layers, H], carried by the tensordict
        self.gate, self.content = nn.Linear(in_features + hidden, hidden), nn.Linear(in_features, hidden)

    def step(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        old = states[0].squeeze(1)
        write = torch.sigmoid(self.gate(torch.cat([x, old], -1)) - 1.0)
        new = (1 - write) * old + write * torch.tanh(self.content(x))
        return new, [new.unsqueeze(1)]


class Minimal:
    """How `make_actor_critic` builds it; `window` is how many observations a step sees."""

    window = 1

    def build(self, in_features: int, hidden_size: int) -> MemoryCore:
        return MinimalGRU(in_features, hidden_size)


env = RecallEnv(RecallConfig(delay=1, jitter=1), n_envs=32, seed=0)  # a cue is asked for soon after
actor_critic = make_actor_critic(env, memory=Minimal(), hidden_size=64, encoder_size=64)
env = TransformedEnv(env, actor_critic.transforms())
print(check_ratio(actor_critic, env))  # does `step` at collection equal the rows of the update?
learner = PPOLearner(actor_critic, PPOConfig(slice_len=24, lr=3e-3, entropy_coeff=0.02))
for metrics in train(env, actor_critic, learner, TrainConfig(total_frames=50 * 768, frames_per_batch=768)):
    print(f"return {metrics['episode/return']:.2f} (at best 1, without memory 0.25)")
