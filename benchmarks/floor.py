"""Recurrent PPO in plain torch: the same networks, numbers and resets as ours, and nothing around them.

What a library costs is what it takes beyond this. A test holds the update against `PPOLearner`, number for number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.cartpole import CartPoles
from benchmarks.sizes import Sizes


class Net(nn.Module):
    """Observation -> normalise -> Linear -> ReLU -> LSTM -> value and logits, each by one hidden layer."""

    mean: Tensor
    scale: Tensor

    def __init__(self, sizes: Sizes, features: int = 2, actions: int = 2) -> None:
        super().__init__()
        half = sizes.hidden // 2
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.encoder = nn.Linear(features, sizes.encoder)
        self.cell = nn.LSTMCell(sizes.encoder, sizes.hidden)
        self.value = nn.Sequential(nn.Linear(sizes.hidden, half), nn.ReLU(), nn.Linear(half, 1))
        self.logits = nn.Sequential(nn.Linear(sizes.hidden, half), nn.ReLU(), nn.Linear(half, actions))

    def encode(self, observation: Tensor) -> Tensor:
        """Return what the LSTM reads."""
        return torch.relu(self.encoder(((observation - self.mean) * self.scale).clamp(-10, 10)))


@dataclass
class Batch:
    """A rollout, time first: observation [T, E, F], the rest [T, E]; states [T / L, E, H] at the starts of slices."""

    observation: Tensor
    action: Tensor
    log_prob: Tensor
    value: Tensor
    is_init: Tensor
    h: Tensor
    c: Tensor
    advantage: Tensor
    target: Tensor


class Floor:
    """Collects and learns."""

    def __init__(self, sizes: Sizes, seed: int = 0) -> None:
        self.sizes = sizes
        torch.manual_seed(seed)
        self.net = Net(sizes)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=3e-4, eps=1e-5, fused=True)
        self.generator = torch.Generator().manual_seed(seed)
        self.carts = CartPoles(sizes.envs, seed)
        self.shown = torch.from_numpy(self.carts.reset(torch.ones(sizes.envs, dtype=torch.bool).numpy()))
        self.fresh = torch.ones(sizes.envs, dtype=torch.bool)
        self.h, self.c = torch.zeros(sizes.envs, sizes.hidden), torch.zeros(sizes.envs, sizes.hidden)
        self.moments = (torch.zeros((), dtype=torch.float64), torch.zeros(2).double(), torch.ones(2).double())

    def advance(self) -> int:
        """Collect one batch and learn from it; return its frames."""
        batch = self.collect()
        self.update(batch)
        return self.sizes.envs * self.sizes.steps

    @torch.no_grad()
    def collect(self, gamma: float = 0.99, gae_lambda: float = 0.95) -> Batch:
        """Return a rollout with advantages (not normalised) and targets."""
        sizes, net = self.sizes, self.net
        T, E = sizes.steps, sizes.envs
        observation, action = torch.empty(T, E, 2), torch.empty(T, E, dtype=torch.int64)
        log_prob, value, is_init = torch.empty(T, E), torch.empty(T, E), torch.empty(T, E, dtype=torch.bool)
        stored_h, stored_c = (torch.empty(T // sizes.slice_len, E, sizes.hidden) for _ in range(2))
        done, ended, following = (
            torch.empty(T, E, dtype=torch.bool),
            torch.empty(T, E, dtype=torch.bool),
            torch.zeros(T, E),
        )
        for t in range(T):
            observation[t], is_init[t] = self.shown, self.fresh
            if t % sizes.slice_len == 0:
                stored_h[t // sizes.slice_len], stored_c[t // sizes.slice_len] = self.h, self.c
            self.h, self.c = net.cell(net.encode(self.shown), (self.h, self.c))
            value[t] = net.value(self.h).squeeze(-1)
            log_probs = net.logits(self.h).log_softmax(-1)
            noise = torch.empty_like(log_probs).exponential_().log_()
            action[t] = (log_probs - noise).argmax(-1)
            log_prob[t] = log_probs.gather(-1, action[t].unsqueeze(-1)).squeeze(-1)
            shown, terminated, truncated = self.carts.step(action[t].numpy())
            over = terminated | truncated
            ended[t], done[t] = torch.from_numpy(terminated), torch.from_numpy(over)
            if truncated.any() or t == T - 1:
                h, _ = net.cell(net.encode(torch.from_numpy(shown)), (self.h, self.c))
                following[t] = net.value(h).squeeze(-1)
            if over.any():
                shown = self.carts.reset(over)
                self.h, self.c = self.h.masked_fill(done[t, :, None], 0), self.c.masked_fill(done[t, :, None], 0)
            self.shown, self.fresh = torch.from_numpy(shown), done[t]
        following[:-1] = torch.where(done[:-1], following[:-1], value[1:])
        advantage = _gae(value, following * ~ended, done, gamma, gae_lambda)
        return Batch(observation, action, log_prob, value, is_init, stored_h, stored_c, advantage, advantage + value)

    def update(self, batch: Batch, clip: float = 0.2, entropy_coeff: float = 0.01) -> None:
        """Learn from `batch`; the statistics of observations are renewed afterwards."""
        sizes, L = self.sizes, self.sizes.slice_len
        centred = batch.advantage - batch.advantage.mean()
        advantage = centred / centred.pow(2).mean().sqrt().clamp(min=1e-4)
        data = [batch.observation, batch.action, batch.log_prob, batch.is_init, advantage, batch.target]
        # [T, E] -> [L, E * T / L]: slices side by side, row by row.
        data = [x.view(-1, L, *x.shape[1:]).permute(1, 2, 0, *range(3, x.ndim + 1)).flatten(1, 2) for x in data]
        h, c = (x.transpose(0, 1).flatten(0, 1) for x in (batch.h, batch.c))
        for _ in range(sizes.epochs):
            for ids in torch.randperm(len(h), generator=self.generator).tensor_split(sizes.minibatches):
                observation, action, old, is_init, weight, target = (x[:, ids] for x in data)
                core = self._run(observation, is_init, h[ids], c[ids])
                log_probs = self.net.logits(core).log_softmax(-1)
                ratio = (log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1) - old).exp()
                policy = -torch.minimum(ratio * weight, ratio.clamp(1 - clip, 1 + clip) * weight).mean()
                value = (self.net.value(core).squeeze(-1) - target).pow(2).mean()
                entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
                self.optimiser.zero_grad()
                (policy + 0.5 * value - entropy_coeff * entropy).backward()
                nn.utils.clip_grad_norm_(self.net.parameters(), 0.5)
                self.optimiser.step()
        self._see(batch.observation.flatten(0, 1).double())

    def _run(self, observation: Tensor, is_init: Tensor, h: Tensor, c: Tensor) -> Tensor:
        """Return the LSTM's outputs [L, B, H]; the state is zero where an episode begins."""
        encoded = self.net.encode(observation)
        going = (~is_init).unsqueeze(-1).float()
        outputs = []
        for t in range(len(encoded)):
            h, c = self.net.cell(encoded[t], (h * going[t], c * going[t]))
            outputs.append(h)
        return torch.stack(outputs)

    def _see(self, x: Tensor) -> None:
        """Fold observations [N, F] into mean and scale (Chan, Golub and LeVeque 1979)."""
        count, mean, var = self.moments
        total, delta = count + len(x), x.mean(0) - mean
        m2 = var * count + x.var(0, correction=0) * len(x) + delta**2 * (count * len(x) / total)
        self.moments = (total, mean + delta * (len(x) / total), m2 / total)
        self.net.mean.copy_(self.moments[1])
        self.net.scale.copy_((self.moments[2] + 1e-8).rsqrt())


def _gae(value: Tensor, following: Tensor, done: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Return advantages [T, E] for a reward of 1 per step."""
    surprise = 1 + gamma * following - value
    decay = gamma * gae_lambda * ~done
    advantage = torch.empty_like(value)
    running = torch.zeros_like(value[0])
    for t in range(len(value) - 1, -1, -1):
        running = surprise[t] + decay[t] * running
        advantage[t] = running
    return advantage
