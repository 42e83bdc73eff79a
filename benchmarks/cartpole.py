"""Masked-velocity CartPole, many carts at once, in NumPy: every contestant steps the same physics."""

from __future__ import annotations

import math

import numpy as np

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, TICK = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02  # SI units
MAX_POSITION, MAX_ANGLE, MAX_STEPS = 2.4, 12 * 2 * math.pi / 360, 500
SHOWN = (0, 2)  # position and angle; the velocities must be inferred


class CartPoles:
    """`n` carts; an observation is float32 [n, 2]: position (m) and angle (rad).

    Source: Barto, Sutton and Anderson (1983), as in Gymnasium's CartPole-v1: Euler steps, a reward of 1 per step,
    terminated beyond 2.4 m or 12 degrees, truncated after 500 steps.
    """

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self.random = np.random.default_rng(seed)
        self.state = np.zeros((n, 4))
        self.steps = np.zeros(n, dtype=np.int64)

    def reset(self, which: np.ndarray) -> np.ndarray:
        """Begin new episodes where `which` bool [n] is set; return all observations."""
        self.state[which] = self.random.uniform(-0.05, 0.05, (int(which.sum()), 4))
        self.steps[which] = 0
        return self.observation()

    def observation(self) -> np.ndarray:
        """Return what is shown, float32 [n, 2]."""
        return self.state[:, SHOWN].astype(np.float32)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Push right (1) or left (0), int [n]; return observations, terminated and truncated, bool [n]."""
        x, speed, angle, spin = self.state.T
        force = FORCE * (2 * action - 1)
        cos, sin = np.cos(angle), np.sin(angle)
        push = (force + POLE * HALF_LENGTH * spin**2 * sin) / (CART + POLE)
        turn = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4 / 3 - POLE * cos**2 / (CART + POLE)))
        drive = push - POLE * HALF_LENGTH * turn * cos / (CART + POLE)
        self.state = np.stack([x + TICK * speed, speed + TICK * drive, angle + TICK * spin, spin + TICK * turn], 1)
        self.steps += 1
        terminated = (np.abs(self.state[:, 0]) > MAX_POSITION) | (np.abs(self.state[:, 2]) > MAX_ANGLE)
        return self.observation(), terminated, (self.steps >= MAX_STEPS) & ~terminated
