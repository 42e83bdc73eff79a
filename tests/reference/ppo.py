"""One PPO update in plain torch: every slice alone, every step alone, back-propagation through the slice by hand.

Formulas: Schulman et al. 2017 eq. 7 (clipped surrogate), squared value error, entropy bonus; all are means over the
steps of the minibatch.
"""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor

from tamiyo_trl.objectives import PPOConfig
from tamiyo_trl.policies import ActorCritic, MaskedHeads
from tests.reference.gae import slow_gae
from tests.reference.lstm_policy import SlowPolicy


def slow_losses(
    actor_critic: ActorCritic, steps: list[dict[str, Tensor]], config: PPOConfig, entropy_coeff: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return policy, value and entropy loss of a minibatch: means over `steps` (entries as `walk` returns them)."""
    policy_terms, value_terms, entropies = [], [], []
    for step in steps:
        heads = MaskedHeads(
            step["logits"], step["mask"], action=actor_critic.policy.module[-1].distribution_kwargs["action"]
        )
        ratio = (heads.log_prob(step["action"]) - step["log_prob"]).exp()
        clipped = ratio.clamp(1 - config.clip_epsilon, 1 + config.clip_epsilon)
        policy_terms.append(-torch.minimum(ratio * step["advantage"], clipped * step["advantage"]))
        value_terms.append((step["value"] - step["target"]) ** 2)
        entropies.append(heads.entropy())
    mean = lambda terms: torch.stack(terms).mean()  # noqa: E731
    return mean(policy_terms), config.value_coeff * mean(value_terms), -entropy_coeff * mean(entropies)


def walk(
    actor_critic: ActorCritic, rows: TensorDictBase, row: int, first: int, last: int, extra: dict[str, Tensor]
) -> list[dict[str, Tensor]]:
    """Return the steps first..last-1 of a row, run from the state stored at the first; resets start from zero."""
    policy, out = SlowPolicy(actor_critic), []
    h, c = rows["recurrent_state_h"][row, first, 0], rows["recurrent_state_c"][row, first, 0]
    for t in range(first, last):
        if rows["is_init"][row, t]:
            h, c = torch.zeros_like(h), torch.zeros_like(c)
        logits, value, h, c = policy.step(rows["observation"][row, t], h, c)
        entry = {"logits": logits, "value": value, "mask": rows["action_mask"][row, t]}
        entry |= {"action": rows["action"][row, t], "log_prob": rows["action_log_prob"][row, t], "h": h, "c": c}
        out.append(entry | {name: x[row, t] for name, x in extra.items()})
    return out


def slow_estimates(actor_critic: ActorCritic, rows: TensorDictBase, config: PPOConfig) -> tuple[Tensor, Tensor]:
    """Return advantages and targets [R, T]; every next value comes from a step of its own with the un-reset state."""
    policy = SlowPolicy(actor_critic)
    advantages, targets = [], []
    after = rows["next"]
    for row in range(rows.shape[0]):
        following = []
        for t in range(rows.shape[1]):
            h, c = after["recurrent_state_h"][row, t, 0], after["recurrent_state_c"][row, t, 0]
            following.append(policy.step(after["observation"][row, t], h, c)[1].item())
        flags = [after[key][row, :, 0].tolist() for key in ("done", "terminated")]
        values, rewards = rows["state_value"][row, :, 0].tolist(), after["reward"][row, :, 0].tolist()
        one, two = slow_gae(values, following, rewards, *flags, config.gamma, config.gae_lambda)
        advantages.append(one)
        targets.append(two)
    return torch.tensor(advantages), torch.tensor(targets)


def slow_update(
    actor_critic: ActorCritic, rows: TensorDictBase, config: PPOConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the parameters after one update of `actor_critic` (changed in place) on rows [R, T], "none" value norm."""
    advantage, target = slow_estimates(actor_critic, rows, config)
    mean = advantage.mean()
    deviation = ((advantage - mean) ** 2).mean().sqrt().clamp(min=config.advantage_std_floor)
    extra = {"advantage": (advantage - mean) / deviation, "target": target}
    parameters = list(actor_critic.policy.parameters())
    optimiser = torch.optim.Adam(parameters, lr=config.lr, eps=config.adam_eps)
    slices = slow_slices(*rows.shape, config.slice_len)
    for _ in range(config.epochs):
        order = torch.randperm(len(slices), generator=generator)
        for ids in order.tensor_split(config.minibatches):
            steps = [s for i in ids.tolist() for s in walk(actor_critic, rows, *slices[i], extra)]
            loss = sum(slow_losses(actor_critic, steps, config, config.entropy_coeff))
            optimiser.zero_grad()
            loss.backward()
            norm = torch.sqrt(sum((p.grad**2).sum() for p in parameters))
            for p in parameters:
                p.grad *= min(1.0, config.max_grad_norm / (float(norm) + 1e-6))
            optimiser.step()
    return dict(actor_critic.policy.named_parameters())


def slow_slices(rows: int, steps: int, length: int) -> list[tuple[int, int, int]]:
    """Return (row, first, last) of every slice: the whole slices row by row, then each row's shorter remainder."""
    length = min(length, steps)
    whole = [(row, k * length, (k + 1) * length) for row in range(rows) for k in range(steps // length)]
    rest = steps % length
    return whole + ([(row, steps - rest, steps) for row in range(rows)] if rest else [])
