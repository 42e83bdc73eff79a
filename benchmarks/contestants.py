"""Who is measured: each learns from batch after batch of the same CartPole, under the same settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torchrl.collectors import Collector
from torchrl.envs import TransformedEnv

from benchmarks.cartpole_env import CartPoleEnv
from benchmarks.floor import Floor
from benchmarks.sizes import Sizes
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import ActorCritic, make_actor_critic
from tamiyo_trl.training import TrainConfig, make_collector, train

ENDLESS = 1_000_000  # batches


class Contestant(Protocol):
    """Something that collects and learns."""

    def advance(self) -> int:
        """Collect one batch and learn from it; return its frames."""


def ppo_config(sizes: Sizes) -> PPOConfig:
    """Return the settings all contestants share."""
    return PPOConfig(
        slice_len=sizes.slice_len,
        epochs=sizes.epochs,
        minibatches=sizes.minibatches,
        lr=3e-4,
        entropy_coeff=0.01,
        target_kl=math.inf,
        value_norm="none",
    )


def build(sizes: Sizes) -> tuple[TransformedEnv, ActorCritic]:
    """Return environment and actor-critic."""
    env = CartPoleEnv(sizes.envs)
    actor_critic = make_actor_critic(env, hidden_size=sizes.hidden, encoder_size=sizes.encoder)
    return TransformedEnv(env, actor_critic.transforms()), actor_critic


class Ours:
    """`tamiyo_trl.training.train`: the full loop with its metrics."""

    def __init__(self, sizes: Sizes) -> None:
        env, actor_critic = build(sizes)
        self.batch = sizes.envs * sizes.steps
        config = TrainConfig(total_frames=self.batch * ENDLESS, frames_per_batch=self.batch)
        learner = PPOLearner(actor_critic, ppo_config(sizes))
        self.updates: Iterator[dict[str, float]] = train(env, actor_critic, learner, config)

    def advance(self) -> int:
        """Collect one batch and learn from it."""
        next(self.updates)
        return self.batch


class OursCollecting:
    """`make_collector` alone: how much of the loop is collection."""

    def __init__(self, sizes: Sizes) -> None:
        env, actor_critic = build(sizes)
        self.batch = sizes.envs * sizes.steps
        self.batches = iter(make_collector(env, actor_critic, self.batch, self.batch * ENDLESS))

    def advance(self) -> int:
        """Collect one batch."""
        next(self.batches)
        return self.batch


class StockCollector:
    """TorchRL's own collector with our full policy and learner: what composing the parts plainly costs."""

    def __init__(self, sizes: Sizes) -> None:
        env, actor_critic = build(sizes)
        self.batch = sizes.envs * sizes.steps
        self.learner = PPOLearner(actor_critic, ppo_config(sizes))
        self.batches = iter(
            Collector(
                env,
                actor_critic.policy,
                frames_per_batch=self.batch,
                total_frames=self.batch * ENDLESS,
                auto_register_policy_transforms=False,
            )
        )

    def advance(self) -> int:
        """Collect one batch and learn from it."""
        self.learner.update(next(self.batches))
        return self.batch


class FloorCollecting:
    """Collection in plain torch alone."""

    def __init__(self, sizes: Sizes) -> None:
        self.floor, self.batch = Floor(sizes), sizes.envs * sizes.steps

    def advance(self) -> int:
        """Collect one batch."""
        self.floor.collect()
        return self.batch


CONTESTANTS: dict[str, Callable[[Sizes], Contestant]] = {
    "ours": Ours,
    "ours, collecting only": OursCollecting,
    "TorchRL's collector and modules, our learner": StockCollector,
    "plain torch": Floor,
    "plain torch, collecting only": FloorCollecting,
}


def stored_bytes(sizes: Sizes) -> dict[str, int]:
    """Return bytes per stored frame, entry by entry, of a batch as our collector yields it."""
    env, actor_critic = build(sizes)
    frames = sizes.envs * sizes.steps
    batch = next(iter(make_collector(env, actor_critic, frames, frames)))
    leaves: list[tuple[Any, torch.Tensor]] = list(batch.items(include_nested=True, leaves_only=True))
    return {
        key if isinstance(key, str) else "/".join(key): leaf.untyped_storage().nbytes() // frames
        for key, leaf in leaves
    }
