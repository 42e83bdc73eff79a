"""What a script goes by: how likely each hidden deficit is, and how likely the live seed is a good one."""

from __future__ import annotations

from typing import Protocol

import torch
from tensordict import TensorDictBase
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.seeds.lifecycle import LIVE

BAD = 0.75  # dead share from which a seed counts as bad: the duds of `duds`, the worst quarter of `mixed`


def live_sites(stage: Tensor) -> Tensor:
    """Return where the live seed stands, bool [E, S], given the stages [E, S]."""
    return (stage >= int(LIVE[0])) & (stage <= int(LIVE[-1]))


class Knowledge(Protocol):
    """A source of beliefs, asked once per step with everything the environment shows, a TensorDict [E]."""

    def read(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return the probability of each deficit, float [E, D], and of the live seed being good, float [E]."""
        ...


class Known:
    """Knows both by the entry `privileged`."""

    def __init__(self, config: GrowthConfig) -> None:
        names = config.privileged_names
        self._deficit = [number for number, name in enumerate(names) if name.startswith("deficit ")]
        self._dead = [number for number, name in enumerate(names) if name.startswith("dead share at ")]

    def read(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return certainties."""
        shown, live = tensordict[keys.PRIVILEGED], live_sites(tensordict[keys.INFO, "stage"])
        dead = (shown[:, self._dead] * live).sum(-1)
        return shown[:, self._deficit], (dead < BAD).float()


class Ignorant:
    """Holds every deficit for equally likely and every seed for good."""

    def __init__(self, config: GrowthConfig) -> None:
        self._deficits = len(make_family(config.family, config.image_size, config.task).deficits)

    def read(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return what is held before anything is seen."""
        hosts = tensordict.batch_size[0]
        return torch.full((hosts, self._deficits), 1.0 / self._deficits), torch.ones(hosts)


class Either:
    """Takes the deficit from one source and the seed's quality from another."""

    def __init__(self, deficit: Knowledge, quality: Knowledge) -> None:
        self._deficit, self._quality = deficit, quality

    def read(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Ask each for its own."""
        return self._deficit.read(tensordict)[0], self._quality.read(tensordict)[1]
