"""sb3-contrib's RecurrentPPO on POPGym, recorded as recipes/train_popgym.py records its own runs.

    <python with sb3-contrib and popgym> -m benchmarks.popgym_sb3 --env RepeatPreviousEasy --seed 0

Same observations (previous action and reward in them), frames, batch, epochs, minibatches, learning rate and entropy
weight; its own LSTM for the critic, as is its default. A finished run is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import popgym.envs
import torch
from gymnasium.wrappers import DtypeObservation, FlattenObservation
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

LATE = 0.1  # share of the frames, the last ones, over whose episodes the return is averaged
ENVS, STEPS, EPOCHS, MINIBATCHES = 16, 128, 4, 4
LR, ENTROPY, HIDDEN = 1e-3, 0.01, 128


class PreviousAction(gymnasium.Wrapper):
    """Appends the previous action (one-hot) and reward to a flat observation; zeros at an episode's start."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.actions = int(gymnasium.spaces.flatdim(env.action_space))
        size = gymnasium.spaces.flatdim(env.observation_space) + self.actions + 1
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(**kwargs)
        return np.concatenate([observation, np.zeros(self.actions + 1, np.float32)]), info

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        last = np.zeros(self.actions + 1, np.float32)
        last[action], last[-1] = 1, reward
        return np.concatenate([observation, last]), float(reward), terminated, truncated, info


class Curve(BaseCallback):
    """Remembers (frames, episodes, mean return) of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.points: list[list[float]] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        if self.returns:
            mean = round(sum(self.returns) / len(self.returns), 6)
            self.points.append([self.num_timesteps, len(self.returns), mean])
        self.returns = []


def run(name: str, seed: int, frames: int) -> dict[str, Any]:
    """Train one run; return its record."""
    cls = {found.__name__: found for found in popgym.envs.ALL}[name]

    def one() -> gymnasium.Env:
        return Monitor(PreviousAction(DtypeObservation(FlattenObservation(cls()), np.float32)))

    batch = ENVS * STEPS
    total = frames // batch * batch
    model = RecurrentPPO(
        "MlpLstmPolicy",
        DummyVecEnv([one] * ENVS),
        n_steps=STEPS,
        batch_size=batch // MINIBATCHES,
        n_epochs=EPOCHS,
        learning_rate=lambda left: LR * left,
        ent_coef=ENTROPY,
        seed=seed,
        device="cpu",
        policy_kwargs={"lstm_hidden_size": HIDDEN},
    )
    curve = Curve()
    wall, cpu = time.perf_counter(), time.process_time()
    model.learn(total, callback=curve)
    late = [(count, value) for at, count, value in curve.points if at > (1 - LATE) * total]
    packages = ("torch", "sb3-contrib", "stable-baselines3", "popgym", "gymnasium", "numpy")
    return {
        "env": name,
        "seed": seed,
        "return": sum(count * value for count, value in late) / max(1, sum(count for count, _ in late)),
        "frames": total,
        "parameters": sum(parameter.numel() for parameter in model.policy.parameters()),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "wall_seconds": round(time.perf_counter() - wall, 1),
        "settings": {
            "frames": frames,
            "policy": "sb3-contrib's MlpLstmPolicy and its other defaults",
            "n_envs": ENVS,
            "steps": STEPS,
            "hidden_size": HIDDEN,
            "lr": LR,
            "lr_end": 0.0,
            "entropy_coeff": ENTROPY,
            "ppo": {"epochs": EPOCHS, "minibatches": MINIBATCHES},
        },
        "versions": {package: version(package) for package in packages} | {"python": platform.python_version()},
        "curve": curve.points,
    }


def main() -> None:
    """Run what is not finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", default=["RepeatPreviousEasy"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=300_000)
    parser.add_argument("--out", type=Path, default=Path("docs/results/popgym"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.env:
        path = args.out / "sb3_recurrent_ppo" / name / f"seed_{args.seed}.json"
        if not path.exists():
            record = run(name, args.seed, args.frames)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
            os.replace(temporary, path)


if __name__ == "__main__":
    main()
