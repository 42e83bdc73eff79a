"""Train recurrent, masked PPO on an environment of one's own: python examples/own_environment.py"""

import torch
from tensordict import TensorDict
from torchrl.data import Binary, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase, TransformedEnv

from tamiyo_trl.objectives import PPOConfig, PPOLearner, check_ratio
from tamiyo_trl.policies import make_actor_critic
from tamiyo_trl.training import TrainConfig, train


class Echo(EnvBase):
    """E games of six steps: the number shown at the start is asked for at the end; in between only 0 is legal."""

    def __init__(self, n_envs: int = 32) -> None:
        super().__init__(batch_size=[n_envs])
        E, mask = n_envs, Binary(shape=(n_envs, 3), dtype=torch.bool)  # True where legal
        self.observation_spec = Composite(observation=Unbounded((E, 3)), action_mask=mask, shape=(E,))
        self.action_spec, self.reward_spec = Categorical(3, shape=(E,)), Unbounded((E, 1))
        self.steps = self.number = torch.zeros(E, dtype=torch.int64)

    def _shown(self) -> dict[str, torch.Tensor]:
        number = torch.nn.functional.one_hot(self.number, 3) * (self.steps == 0)[:, None]
        mask = (self.steps == 5)[:, None] | torch.tensor([True, False, False])
        return {"observation": number.float(), "action_mask": mask}

    def _reset(self, tensordict: TensorDict | None = None, **_: object) -> TensorDict:
        new = torch.tensor(True) if tensordict is None else tensordict.get("_reset", torch.tensor(True)).flatten()
        self.steps = self.steps.masked_fill(new, 0)
        self.number = torch.where(new, torch.randint(3, self.batch_size), self.number)
        return TensorDict(self._shown(), self.batch_size)

    def _step(self, tensordict: TensorDict) -> TensorDict:
        done = (self.steps == 5)[:, None]
        reward = (done & (tensordict["action"] == self.number)[:, None]).float()
        self.steps = self.steps + 1
        return TensorDict({**self._shown(), "reward": reward, "done": done, "terminated": done}, self.batch_size)

    def _set_seed(self, seed: int | None) -> None:
        torch.manual_seed(seed or 0)


env = Echo()
actor_critic = make_actor_critic(env, memory="lstm", hidden_size=32, encoder_size=32)
env = TransformedEnv(env, actor_critic.transforms())  # InitTracker, the LSTM's primer, RewardSum
print(check_ratio(actor_critic, env))  # do collection and update agree here?
learner = PPOLearner(actor_critic, PPOConfig(slice_len=24, lr=3e-3, entropy_coeff=0.02))
for metrics in train(env, actor_critic, learner, TrainConfig(total_frames=30 * 768, frames_per_batch=768)):
    print(f"return {metrics['episode/return']:.2f} (at best 1, without memory 0.33)")
