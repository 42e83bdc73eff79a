"""A task whose returns depend far more on a hidden bit than on what the policy does."""

from __future__ import annotations

import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from tamiyo_trl import keys

FLAGS = (keys.DONE, keys.TERMINATED, keys.TRUNCATED)


class HiddenBonusEnv(EnvBase):
    """E episodes of `length` steps: 1 for the shown one of two actions, and +-`bonus` by a hidden bit.

    The bit, drawn anew for every episode, is shown under "privileged" alone, if at all; `ends` says how episodes end.
    """

    def __init__(
        self,
        n_envs: int = 8,
        seed: int = 0,
        *,
        length: int = 4,
        bonus: float = 1.0,
        shows: bool = True,
        ends: str = keys.TRUNCATED,
    ) -> None:
        super().__init__(device="cpu", batch_size=torch.Size([n_envs]))
        self.length, self.bonus, self.shows, self.ends = length, bonus, shows, ends
        E = self.batch_size
        shown = {keys.OBSERVATION: Unbounded(shape=(*E, 2))}
        if shows:
            shown[keys.PRIVILEGED] = Unbounded(shape=(*E, 1))
        self.observation_spec = Composite(shown, shape=E)
        self.action_spec = Categorical(2, shape=E)
        self.reward_spec = Unbounded(shape=(*E, 1))
        self.full_done_spec = Composite({n: Binary(1, shape=(*E, 1), dtype=torch.bool) for n in FLAGS}, shape=E)
        self.generator = torch.Generator()
        for name in ("bit", "cue", "taken"):
            self.register_buffer(name, torch.zeros(E, dtype=torch.int64))
        self.set_seed(seed)

    def _set_seed(self, seed: int | None) -> None:
        self.generator.manual_seed(seed or 0)

    def get_extra_state(self) -> torch.Tensor:
        return self.generator.get_state()

    def set_extra_state(self, state: torch.Tensor) -> None:
        self.generator.set_state(state)

    def _reset(self, tensordict: TensorDictBase | None = None, **kwargs: object) -> TensorDictBase:
        reset = None if tensordict is None else tensordict.get("_reset", None)
        rows = torch.ones(self.batch_size, dtype=torch.bool) if reset is None else reset.reshape(self.batch_size)
        bit = torch.randint(2, self.batch_size, generator=self.generator)
        self.bit, self.taken = torch.where(rows, bit, self.bit), torch.where(rows, 0, self.taken)
        return self._show()

    def _show(self) -> TensorDict:
        self.cue = torch.randint(2, self.batch_size, generator=self.generator)
        shown = {keys.OBSERVATION: torch.nn.functional.one_hot(self.cue, 2).float()}
        if self.shows:
            shown[keys.PRIVILEGED] = 2.0 * self.bit[:, None] - 1.0
        clear = {name: torch.zeros(*self.batch_size, 1, dtype=torch.bool) for name in FLAGS}
        return TensorDict(shown | clear, self.batch_size)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        right = (tensordict[keys.ACTION] == self.cue).float()
        self.taken = self.taken + 1
        out = self._show()
        out[keys.DONE] = out[self.ends] = (self.taken == self.length)[:, None]
        return out.set(keys.REWARD, (right + self.bonus * (2.0 * self.bit - 1.0))[:, None])
