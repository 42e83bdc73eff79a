"""Recurrent, masked PPO as a TorchRL user would write it: every part is TorchRL's but the distribution and the worlds.

    python recipes/ppo_in_torchrl.py                 # RecallEnv: 0.25 without memory, 1 at best
    python recipes/ppo_in_torchrl.py --world growth  # GrowthEnv: decide when to grow hosts that really train

With seed 0 the first reaches a mean return of 0.73 after 160,000 frames. On GrowthEnv 16,000 frames of 32 envs
show no gain yet (2.56 throughout); `recipes/train.py` starts from better habits and lets its rates fall.

Read this first. `tamiyo_trl.training.train` does the same, faster, with checks, checkpoints and tables around it;
tests/recipes/test_ppo_in_torchrl.py holds its loss and gradient equal to the ones computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import tyro
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor, nn
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, SliceSamplerWithoutReplacement, TensorDictReplayBuffer
from torchrl.envs import Compose, EnvBase, InitTracker, RewardSum, TransformedEnv
from torchrl.modules import LSTMModule, set_recurrent_mode
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from tamiyo_trl.envs import GrowthConfig, GrowthEnv, RecallEnv
from tamiyo_trl.policies import Heads, MaskedHeads


@dataclass(frozen=True)
class Args:
    """Train recurrent, masked PPO on one of two worlds.

    Attributes:
        world: "recall", where a cue must be remembered, or "growth", where hosts train while Tamiyo decides.
        batches: Rollouts to learn from.
        envs: Environments side by side.
        steps: Steps of each environment per rollout.
        slice_len: Steps a gradient flows back through; it divides `steps`.
        epochs: Passes over each rollout.
        minibatches: Optimiser steps per pass; each learns from as many slices.
        hidden: Width of encoder, LSTM and heads.
        lr: Adam's learning rate.
        entropy_coeff: Weight of the entropy bonus (nats).
        seed: Root of weights, actions and worlds.
    """

    world: Literal["recall", "growth"] = "recall"
    batches: int = 100
    envs: int = 64
    steps: int = 25
    slice_len: int = 25
    epochs: int = 4
    minibatches: int = 4
    hidden: int = 64
    lr: float = 3e-3
    entropy_coeff: float = 0.02
    seed: int = 0


def make_policy(features: int, action: Heads, hidden: int) -> ProbabilisticTensorDictSequential:
    """Return observation [E, F] -> encoder -> LSTM -> value and logits -> masked heads, an exact joint distribution."""
    encoder = nn.Sequential(nn.Linear(features, hidden), nn.ReLU())
    value = nn.Sequential(nn.Linear(hidden, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, 1))
    logits = nn.Sequential(nn.Linear(hidden, hidden // 2), nn.ReLU(), nn.Linear(hidden // 2, sum(action.nvec)))
    return ProbabilisticTensorDictSequential(
        TensorDictModule(encoder, in_keys=["observation"], out_keys=["encoded"]),
        LSTMModule(input_size=hidden, hidden_size=hidden, in_key="encoded", out_key="core"),
        TensorDictModule(value, in_keys=["core"], out_keys=["state_value"]),
        TensorDictModule(logits, in_keys=["core"], out_keys=["logits"]),
        ProbabilisticTensorDictModule(
            in_keys={"logits": "logits", "mask": "action_mask"},
            out_keys=["action"],
            distribution_class=MaskedHeads,
            distribution_kwargs={"action": action},
            return_log_prob=True,
        ),
    )


def advantages(batch: TensorDictBase, policy: ProbabilisticTensorDictSequential) -> TensorDictBase:
    """Return the rollout [E, T] with "value_target" and with "advantage" standardised over all its steps.

    `shifted` lets the LSTM walk each row once; in recurrent mode it starts anew where `is_init` is set.
    """
    with set_recurrent_mode(True), torch.no_grad():
        GAE(gamma=0.99, lmbda=0.95, value_network=policy[:3], shifted=True)(batch)
    advantage = batch["advantage"]
    batch["advantage"] = (advantage - advantage.mean()) / advantage.std(correction=0).clamp(min=1e-4)
    return batch


def make_buffer(frames: int, slice_len: int, minibatches: int) -> TensorDictReplayBuffer:
    """Return a buffer for one rollout, which samples its slices, each once a pass."""
    return TensorDictReplayBuffer(
        storage=LazyTensorStorage(frames, ndim=2),
        sampler=SliceSamplerWithoutReplacement(slice_len=slice_len, traj_key="slice"),
        batch_size=frames // minibatches,
    )


def number_slices(batch: TensorDictBase, slice_len: int) -> TensorDictBase:
    """Return the rollout [E, T] with the number of each step's slice: rows are cut every `slice_len` steps."""
    numbers = torch.arange(batch.numel() // slice_len).repeat_interleave(slice_len)
    return batch.set("slice", numbers.reshape(batch.shape))


def make_loss(policy: ProbabilisticTensorDictSequential, entropy_coeff: float) -> ClipPPOLoss:
    """Return the clipped loss; its critic is the value head, which reads what the policy's one pass left."""
    loss = ClipPPOLoss(
        policy,
        policy[2],
        clip_epsilon=0.2,
        entropy_coeff=entropy_coeff,
        critic_coeff=0.5,
        loss_critic_type="l2",
        functional=False,
    )
    loss.set_keys(sample_log_prob="action_log_prob")
    return loss


def total_loss(loss: ClipPPOLoss, slices: TensorDictBase) -> Tensor:
    """Return the sum of the loss terms on slices [S, L]; in recurrent mode the LSTM walks each from its first step."""
    with set_recurrent_mode(True):
        terms = loss(slices)
    return terms["loss_objective"] + terms["loss_critic"] + terms["loss_entropy"]


def main(args: Args) -> None:
    """Train and print the mean return of the episodes that ended, every tenth rollout."""
    torch.manual_seed(args.seed)
    env: EnvBase
    if args.world == "recall":
        env = RecallEnv(n_envs=args.envs, seed=args.seed)
    else:
        env = GrowthEnv(GrowthConfig(image_size=8), n_envs=args.envs, seed=args.seed)
    nvec = env.full_action_spec_unbatched["action"].nvec
    policy = make_policy(env.observation_spec["observation"].shape[-1], Heads(tuple(nvec.tolist())), args.hidden)
    # InitTracker marks an episode's first step; the primer holds the zeros that the LSTM starts from there.
    env = TransformedEnv(env, Compose(InitTracker(), policy[1].make_tensordict_primer(), RewardSum()))
    frames = args.envs * args.steps
    collector = Collector(
        env, policy, frames_per_batch=frames, total_frames=frames * args.batches, auto_register_policy_transforms=False
    )
    loss = make_loss(policy, args.entropy_coeff)
    optimiser = torch.optim.Adam(policy.parameters(), lr=args.lr, eps=1e-5)
    buffer = make_buffer(frames, args.slice_len, args.minibatches)
    returns: list[float] = []
    for number, batch in enumerate(collector, 1):
        buffer.empty()
        buffer.extend(number_slices(advantages(batch, policy), args.slice_len))
        for _ in range(args.epochs * args.minibatches):
            optimiser.zero_grad()
            total_loss(loss, buffer.sample().reshape(-1, args.slice_len)).backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
            optimiser.step()
        returns += batch["next", "episode_reward"][batch["next", "done"]].tolist()
        if number % 10 == 0:
            print(f"{number * frames:>8} frames  return {sum(returns) / len(returns):.3f}", flush=True)
            returns.clear()


if __name__ == "__main__":
    main(tyro.cli(Args))
