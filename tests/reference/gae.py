"""Generalised advantage estimation, one row and one step at a time, in plain Python."""

from __future__ import annotations


def slow_gae(
    values: list[float],
    next_values: list[float],
    rewards: list[float],
    done: list[bool],
    terminated: list[bool],
    gamma: float,
    gae_lambda: float,
) -> tuple[list[float], list[float]]:
    """Return advantages and value targets of one row, straight from the definition: for each t a sum over the rest."""
    deltas = [
        reward + (0.0 if end else gamma * after) - value
        for value, after, reward, end in zip(values, next_values, rewards, terminated)
    ]
    advantages = []
    for t in range(len(deltas)):
        total, weight = 0.0, 1.0
        for k in range(t, len(deltas)):
            total += weight * deltas[k]
            if done[k]:
                break
            weight *= gamma * gae_lambda
        advantages.append(total)
    return advantages, [advantage + value for advantage, value in zip(advantages, values)]
