"""Teach a recurrent policy what a script would do (DAgger), then let PPO go on from there.

python examples/imitate.py     # about a minute
"""

import torch
from tensordict import TensorDictBase

from tamiyo_trl.collectors.collector import make_collector
from tamiyo_trl.envs.recall import ANSWER, RecallConfig, RecallEnv
from tamiyo_trl.objectives import Imitator, PPOConfig, PPOLearner
from tamiyo_trl.policies import make_actor_critic

TASK = RecallConfig(delay=2, jitter=1)
BATCH = 16 * 20  # 16 environments, 20 steps


def teacher(rows: TensorDictBase) -> torch.Tensor:
    """Answer every question with the cue shown before it; `rows` [R, T] hold all that was shown, hidden facts too."""
    shown, sites = rows["observation"], TASK.sites
    cue = torch.stack([shown[..., 2 : 2 + sites].argmax(-1), shown[..., 2 + sites :].argmax(-1)], -1)
    action = torch.zeros(*rows.shape, 3, dtype=torch.int64)  # WAIT
    for row in range(rows.shape[0]):
        known = None
        for step in range(rows.shape[1]):
            if shown[row, step, 0]:
                known = cue[row, step]
            if shown[row, step, 1] and known is not None:
                action[row, step, 0], action[row, step, 1:] = ANSWER, known
    return action


if __name__ == "__main__":
    torch.manual_seed(0)
    env = RecallEnv(TASK, n_envs=16, seed=0)
    policy = make_actor_critic(env, "lstm", hidden_size=32, encoder_size=32)
    for name, learner in (("imitation", Imitator(policy, teacher)), ("PPO", PPOLearner(policy, PPOConfig(lr=1e-3)))):
        for batch in make_collector(env, policy, BATCH, 30 * BATCH):
            learner.update(batch)
        episodes = batch["next", "done"].sum()
        print(
            f"after {name}: mean return {float(batch['next', 'reward'].sum() / episodes):.2f} (chance {env.chance:.2f})"
        )
