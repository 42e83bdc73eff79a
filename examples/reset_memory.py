"""Reset a trained policy's memory in mid-episode and see what it was worth: python examples/reset_memory.py"""

import torch
from torchrl.envs import Compose, TransformedEnv

from tamiyo_trl.envs.recall import RecallConfig, RecallEnv
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import make_actor_critic
from tamiyo_trl.training import TrainConfig, make_collector, train
from tamiyo_trl.transforms import HiddenStateReset

torch.set_num_threads(1)
BATCH, BATCHES = 32 * 24, 50
TASK = RecallConfig(delay=1, jitter=1)  # a cue on the first step is asked for two or three steps later
raw = RecallEnv(TASK, n_envs=32, seed=0)
actor_critic = make_actor_critic(raw, memory="gru", hidden_size=64, encoder_size=64)
learner = PPOLearner(actor_critic, PPOConfig(slice_len=24, lr=3e-3, entropy_coeff=0.02))
env = TransformedEnv(raw, actor_critic.transforms())
for metrics in train(env, actor_critic, learner, TrainConfig(total_frames=BATCHES * BATCH, frames_per_batch=BATCH)):
    print(f"\rtraining: return {metrics['episode/return']:.2f}", end="")
print()


def return_with(*resets: HiddenStateReset) -> float:
    """Return the mean return of the policy where `resets` come behind its own transforms."""
    env = TransformedEnv(RecallEnv(TASK, n_envs=32, seed=1), Compose(*actor_critic.transforms(), *resets))
    (batch,) = make_collector(env, actor_critic, frames_per_batch=10 * BATCH, total_frames=10 * BATCH)
    return float(batch["next", "episode_reward"][batch["next", "done"]].mean())


print(f"memory left alone: {return_with():.2f}")
print(
    f"memory reset at step 1, after the cue: {return_with(HiddenStateReset(at=[1])):.2f} (chance is {raw.chance:.2f})"
)
