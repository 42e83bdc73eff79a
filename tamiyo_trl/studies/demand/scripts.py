"""A script that plants, culls and keeps by what it holds to be true, and one that wanders to show every situation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.seeding import generator
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op
from tamiyo_trl.studies.demand.knowledge import Knowledge, live_sites
from tamiyo_trl.studies.demand.plans import PlanTable

SURELY_BAD = 0.25  # a live seed less likely good than this is culled as soon as it may be; at the end of its life 0.5

Action = tuple[int, int, int]
WAITING: Action = (0, 0, 0)


class Script(TensorDictModuleBase):
    """Follows, on every host, the plan that is worth most by its beliefs; culls what it holds for bad, keeps the rest.

    Args:
        config: What is played.
        table: What plans are worth.
        knowledge: What it believes.
        plant_from: First step at which it plants: the later, the more it knows and the less a seed is worth.
    """

    def __init__(self, config: GrowthConfig, table: PlanTable, knowledge: Knowledge, plant_from: int = 0) -> None:
        super().__init__()
        self.in_keys = [keys.OBSERVATION, keys.ACTION_MASK, keys.PRIVILEGED, keys.INFO]
        self.out_keys = [keys.ACTION]
        table = table.within(config.max_kept)
        self.knowledge, self._values, self._plans = (
            knowledge,
            torch.from_numpy(table.values).float(),
            table.plans(config),
        )
        self._clock, self._steps = config.feature_names.index("time"), config.episode_steps
        self._last = config.episode_steps - config.lifecycle.life_steps
        self._from = plant_from

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the action of every host of a TensorDict [E]."""
        deficits, good = self.knowledge.read(tensordict)
        worth = deficits @ self._values.T  # [E, P]
        step = (tensordict[keys.OBSERVATION][:, self._clock] * self._steps).round().long()
        stage, kind = tensordict[keys.INFO, "stage"], tensordict[keys.INFO, "blueprint"]
        mask = tensordict[keys.ACTION_MASK]
        actions = []
        for host in range(len(mask)):
            live = live_sites(stage[host]).nonzero().flatten().tolist()
            if live:
                actions.append(judge(mask[host], live[0], float(good[host])))
            elif self._from <= int(step[host]) <= self._last:
                actions.append(self._plant(mask[host], stage[host], kind[host], worth[host]))
            else:
                actions.append(WAITING)
        return tensordict.set(keys.ACTION, torch.tensor(actions))

    def _plant(self, mask: Tensor, stage: Tensor, kind: Tensor, worth: Tensor) -> Action:
        """Plant what comes next in the best of the plans that what stands is a part of."""
        kept = (stage == int(Stage.FOSSILIZED)).nonzero().flatten().tolist()
        standing = {(site, int(kind[site])) for site in kept}
        open_plans = [n for n, plan in enumerate(self._plans) if standing <= {(p.site, p.blueprint) for p in plan}]
        if not open_plans:
            return WAITING
        best = self._plans[max(open_plans, key=lambda n: float(worth[n]))]
        for item in best:
            if (item.site, item.blueprint) not in standing:
                legal = bool(mask[Op.GERMINATE, item.site, item.blueprint])
                return (Op.GERMINATE, item.site, item.blueprint) if legal else WAITING
        return WAITING


def judge(mask: Tensor, site: int, good: float) -> Action:
    """Return what to do with the live seed at a site, given the mask [ops, S, K] and how likely it is good."""
    if bool(mask[Op.FOSSILIZE, site, 0]):
        return (Op.FOSSILIZE, site, 0) if good >= 0.5 or not bool(mask[Op.CULL, site, 0]) else (Op.CULL, site, 0)
    return (Op.CULL, site, 0) if good < SURELY_BAD and bool(mask[Op.CULL, site, 0]) else WAITING


class Wanderer(TensorDictModuleBase):
    """Plants plans at random, culls and keeps at random: shows seeds of every quality at every age.

    Args:
        config: What is played.
        choices: Site and blueprint of what it plants; what no script would plant tells little of the seeds they plant.
        seed: Root of its own random stream.
    """

    PLANT, CULL, KEEP = 0.8, 0.06, 0.25  # chances in each step in which it may

    def __init__(self, config: GrowthConfig, choices: Sequence[tuple[int, int]], seed: int) -> None:
        super().__init__()
        self.in_keys, self.out_keys = [keys.ACTION_MASK], [keys.ACTION]
        self._choices = list(choices)
        self._rng = np.random.default_rng(generator(seed, "wanderer").initial_seed())

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the action of every host of a TensorDict [E]."""
        actions = [self._choose(mask) for mask in tensordict[keys.ACTION_MASK]]
        return tensordict.set(keys.ACTION, torch.tensor(actions))

    def _choose(self, mask: Tensor) -> Action:
        for op, chance in ((Op.FOSSILIZE, self.KEEP), (Op.CULL, self.CULL)):
            sites = mask[op, :, 0].nonzero().flatten().tolist()
            if sites and self._rng.random() < chance:
                return op, sites[0], 0
        legal = [(Op.GERMINATE, site, kind) for site, kind in self._choices if bool(mask[Op.GERMINATE, site, kind])]
        if legal and self._rng.random() < self.PLANT:
            return legal[self._rng.integers(len(legal))]
        return WAITING
