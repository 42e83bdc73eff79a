"""Small environments of every shape a policy must serve: any batch, any discrete action, any mask layout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDict, TensorDictBase
from torch import nn
from torchrl.data import Binary, Categorical, Composite, MultiCategorical, MultiOneHot, OneHot, TensorSpec, Unbounded
from torchrl.envs import EnvBase, TransformedEnv
from torchrl.modules import set_recurrent_mode

from tamiyo_trl import keys
from tamiyo_trl.errors import IllegalActionError
from tamiyo_trl.objectives import PPOConfig
from tamiyo_trl.policies import ActorCritic, MaskedHeads
from tamiyo_trl.policies.actions import heads_of

SMALL = {"hidden_size": 8, "encoder_size": 8}
LEARN = PPOConfig(slice_len=4, epochs=1, minibatches=2)


@dataclass(frozen=True)
class Kind:
    """The shape of a zoo environment.

    Attributes:
        batch: batch size.
        action: "categorical", "multi", "onehot" or "multionehot".
        mask: "none", "independent" or "joint".
        nvec: number of values of each head.
        dtype: dtype of the observation.
    """

    batch: tuple[int, ...] = ()
    action: str = "categorical"
    mask: str = "none"
    nvec: tuple[int, ...] = (4,)
    dtype: torch.dtype = torch.float32


class ZooEnv(EnvBase):
    """Random observations and masks; episodes of 3 to 6 steps; an illegal action raises."""

    features = 3

    def __init__(self, kind: Kind, seed: int = 0, observation_key: str = "observation", mask_key: str = "action_mask"):
        super().__init__(device="cpu", batch_size=torch.Size(kind.batch))
        self.kind, self.observation_key, self.mask_key = kind, observation_key, mask_key
        self.generator = torch.Generator()
        B = self.batch_size
        shown: dict[str, TensorSpec] = {observation_key: Unbounded(shape=(*B, self.features), dtype=kind.dtype)}
        if kind.mask != "none":
            shape = (sum(kind.nvec),) if kind.mask == "independent" else kind.nvec
            shown[mask_key] = Binary(shape=(*B, *shape), dtype=torch.bool)
        self.observation_spec = Composite(shown, shape=B)
        self.action_spec = self._action_spec()
        self.reward_spec = Unbounded(shape=(*B, 1))
        flags = ("done", "terminated", "truncated")
        self.full_done_spec = Composite({n: Binary(1, shape=(*B, 1), dtype=torch.bool) for n in flags}, shape=B)
        self.heads = heads_of(self.action_spec, B)
        self.mask: torch.Tensor | None = None
        self.left = self.left_at_start = torch.zeros(*B, 1, dtype=torch.int64)
        self.set_seed(seed)

    def _action_spec(self) -> TensorSpec:
        B, nvec = self.batch_size, self.kind.nvec
        if self.kind.action == "categorical":
            return Categorical(nvec[0], shape=B)
        if self.kind.action == "onehot":
            return OneHot(nvec[0], shape=(*B, nvec[0]), dtype=torch.int64)
        if self.kind.action == "multionehot":
            return MultiOneHot(nvec, shape=(*B, sum(nvec)))
        return MultiCategorical(nvec, shape=(*B, len(nvec)))

    def _set_seed(self, seed: int | None) -> None:
        self.generator.manual_seed(seed or 0)

    def _show(self) -> TensorDict:
        B, gen, nvec = self.batch_size, self.generator, self.kind.nvec
        out = {self.observation_key: torch.randn(*B, self.features, generator=gen, dtype=self.kind.dtype)}
        if self.kind.mask == "joint":
            out[self.mask_key] = self.mask = torch.rand(*B, *nvec, generator=gen) < 0.3
            self.mask[(..., *[0] * len(nvec))] = True
        elif self.kind.mask == "independent":
            parts = [torch.rand(*B, n, generator=gen) < 0.5 for n in nvec]
            for part in parts:
                part[..., -1] = True
            out[self.mask_key] = self.mask = torch.cat(parts, -1)
        clear = torch.zeros(*B, 1, dtype=torch.bool)
        return TensorDict(out | {n: clear.clone() for n in ("done", "terminated", "truncated")}, B)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        reset = None if tensordict is None else tensordict.get("_reset", None)
        rows = torch.ones_like(self.left, dtype=torch.bool) if reset is None else reset.reshape(self.left.shape)
        length = torch.randint(3, 7, self.left.shape, generator=self.generator)
        self.left = torch.where(rows, length, self.left)
        self.left_at_start = torch.where(rows, length, self.left_at_start)
        before = self.mask
        out = self._show()
        if self.kind.mask != "none" and before is not None:  # rows that go on keep the mask they were shown
            wide = rows.reshape(*self.batch_size, *[1] * (before.ndim - len(self.batch_size)))
            self.mask = torch.where(wide, self.mask, before)
        return out

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        self._check(tensordict["action"])
        self.left = self.left - 1
        out = self._show()
        out["done"] = self.left == 0
        late = self.left_at_start % 2 == 0  # about half of the ends are truncations
        out["terminated"], out["truncated"] = out["done"] & late, out["done"] & ~late
        out["reward"] = torch.randn(*self.batch_size, 1, generator=self.generator)
        return out

    def _check(self, action: torch.Tensor) -> None:
        index = self.heads.decode(action)
        if self.mask is None:
            return
        if self.kind.mask == "joint":
            legal = self.mask.flatten(len(self.batch_size)).gather(-1, self._flat(index))
        else:
            offsets = torch.tensor([sum(self.kind.nvec[:k]) for k in range(len(self.kind.nvec))])
            legal = self.mask.gather(-1, index + offsets)
        if not legal.all():
            raise IllegalActionError(f"illegal action {index.tolist()}")

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        out = super().rand_action(tensordict)
        if self.mask is not None:
            logits = torch.zeros(*self.batch_size, sum(self.kind.nvec))
            out["action"] = MaskedHeads(logits, self.mask, action=self.heads).sample()
        return out

    def _flat(self, index: torch.Tensor) -> torch.Tensor:
        flat = index[..., :1]
        for k in range(1, len(self.kind.nvec)):
            flat = flat * self.kind.nvec[k] + index[..., k : k + 1]
        return flat


KINDS = [
    Kind(),
    Kind((3,), mask="independent"),
    Kind((3,), "onehot", "independent"),
    Kind((2, 3), "multi", "joint", (2, 3, 2)),
    Kind((3,), "multi", "joint", (2, 3)),
    Kind((3,), "multi", "independent", (2, 3)),
    Kind((3,), "multi", "none", (2, 3), torch.float64),
    Kind((), "multi", "joint", (2, 3)),
    Kind((), "onehot"),
    Kind((2,), "multionehot", "independent", (2, 3)),
    Kind((2,), "multi", "independent", (5,)),
]


def lively(actor_critic: ActorCritic, seed: int = 0) -> ActorCritic:
    """Redraw all weights, so that no output is nearly constant."""
    torch.manual_seed(seed)
    for parameter in actor_critic.parameters():
        nn.init.normal_(parameter, std=0.5)
    return actor_critic


def rollout(env: ZooEnv, actor_critic: ActorCritic, steps: int = 20) -> TensorDictBase:
    wrapped = TransformedEnv(env, actor_critic.transforms())
    with torch.no_grad():
        return wrapped.rollout(steps, actor_critic.collection_policy(), break_when_any_done=False)


def recomputed(actor_critic: ActorCritic, batch: TensorDictBase) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities, the value head's and the critic's values of a batch in recurrent mode."""
    data = batch.select(*actor_critic.training_keys).exclude(keys.LOG_PROB, keys.STATE_VALUE)
    with torch.no_grad(), set_recurrent_mode(True):
        log_prob = actor_critic.policy.get_dist(data).log_prob(batch[keys.ACTION])
        critic = actor_critic.critic(batch.select(*actor_critic.critic.in_keys))
        return log_prob, actor_critic.value_head(data)[keys.STATE_VALUE], critic[keys.STATE_VALUE]
