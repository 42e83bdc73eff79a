"""Controllers that do not learn: what a trained Tamiyo has to beat.

Each is a TensorDictModule like any policy. Sizes come from the action mask (joint, bool [E, ops, S, K]), names of
observation columns from the environment's `feature_names`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.errors import ConfigError, SpecError
from tamiyo_trl.seeding import generator
from tamiyo_trl.seeds.lifecycle import Op


class GrowthSpecs(Protocol):
    """What a baseline asks of an environment or its config: the names of the observation columns."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Name of every observation column, in order."""
        ...


class Baseline(TensorDictModuleBase):
    """Maps observation and mask to an action by `choose`; stepped in order, one env step per call."""

    def __init__(self) -> None:
        super().__init__()
        self.in_keys = [keys.OBSERVATION, keys.ACTION_MASK]
        self.out_keys = [keys.ACTION]

    def choose(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Return the action, int64 [E, 3], given observation [E, F] and mask [E, ops, S, K]."""
        raise NotImplementedError

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Write the action of a tensordict of any batch size."""
        flat = tensordict.select(*self.in_keys).reshape(-1)
        action = self.choose(flat[keys.OBSERVATION], flat[keys.ACTION_MASK])
        return tensordict.set(keys.ACTION, action.reshape(*tensordict.batch_size, -1))


def _first_legal(mask: Tensor, op: int) -> tuple[Tensor, Tensor]:
    """Return the first legal action of this op, int64 [E, 3], and whether there is one, bool [E]."""
    legal = mask[:, op].flatten(1)
    site, kind = torch.unravel_index(legal.long().argmax(-1), mask.shape[2:])
    return torch.stack([torch.full_like(site, op), site, kind], dim=-1), legal.any(-1)


class NeverGrow(Baseline):
    """Always waits: the host alone."""

    def choose(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Return WAIT for every host."""
        return _first_legal(mask, Op.WAIT)[0]


class RandomLegal(Baseline):
    """Uniform over the legal ops, then over what is legal under the op."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._rng = generator(seed, "random legal")

    def get_extra_state(self) -> Tensor:
        """Return where the random stream stands, for `state_dict`."""
        return self._rng.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from there."""
        self._rng.set_state(state)

    def choose(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Return a random legal action."""
        weights = mask.float() / mask.sum((2, 3), keepdim=True).clamp(min=1)
        flat = torch.multinomial(weights.flatten(1).cpu(), 1, generator=self._rng).squeeze(-1).to(mask.device)
        return torch.stack(torch.unravel_index(flat, mask.shape[1:]), dim=-1)


@dataclass(frozen=True)
class Planting:
    """One entry of a fixed schedule: plant this blueprint at this site from `step` on, as soon as it is legal."""

    step: int
    site: int
    blueprint: int


class FixedSchedule(Baseline):
    """Plants by the clock, keeps every seed as soon as it may, never culls.

    Args:
        specs: Names the observation columns.
        episode_steps: Steps per episode, to read the clock.
        plan: What to plant and when.
    """

    def __init__(self, specs: GrowthSpecs, episode_steps: int, plan: Sequence[Planting]) -> None:
        super().__init__()
        self._clock, self._steps, self.plan = _column(specs, "time"), episode_steps, tuple(plan)
        if not self.plan:
            raise ConfigError("a fixed schedule needs at least one planting")

    def choose(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Return FOSSILIZE where legal, else the first due planting, else WAIT."""
        step = (observation[:, self._clock] * self._steps).round()
        action, keep = _first_legal(mask, Op.FOSSILIZE)
        action[~keep] = 0
        undecided = ~keep
        for item in self.plan:
            due = undecided & (step >= item.step) & mask[:, Op.GERMINATE, item.site, item.blueprint]
            action[due] = torch.tensor([Op.GERMINATE, item.site, item.blueprint], device=action.device)
            undecided &= ~due
        return action


@dataclass(frozen=True)
class HeuristicRules:
    """Thresholds of the heuristic, in fractions of validation accuracy.

    Attributes:
        plateau_gain: A step that gains less counts towards a plateau.
        plateau_steps: Plateau steps in a row before it plants.
        cull_below: A blending or holding seed whose contribution is below this is culled.
        keep_above: A holding seed whose contribution is above this is fossilized.
    """

    plateau_gain: float = 0.005
    plateau_steps: int = 2
    cull_below: float = -0.02
    keep_above: float = 0.0


class Heuristic(Baseline):
    """Plateau: plant. Falling: cull. Helping once it may be kept: fossilize.

    It plants the blueprints in catalogue order, the sites in turn, so that what was culled is not replanted at once.

    Args:
        specs: Names the observation columns; needs the `snapshot` or `summary` set.
    """

    def __init__(self, specs: GrowthSpecs, rules: HeuristicRules | None = None) -> None:
        super().__init__()
        self.rules = rules or HeuristicRules()
        names = ("time", "val accuracy change", "contribution", "seed stage BLENDING", "seed stage HOLDING")
        self._columns = [_column(specs, name) for name in names]
        self._plateau = torch.zeros(0, dtype=torch.long)
        self._planted = torch.zeros(0, dtype=torch.long)

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return each host's plateau and how much it has planted, for `state_dict`."""
        return {"plateau": self._plateau.clone(), "planted": self._planted.clone()}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        self._plateau, self._planted = state["plateau"].clone(), state["planted"].clone()

    def choose(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Return the rules' action; remembers each host's plateau and how much it has planted."""
        clock, change, contribution, blending, holding = (observation[:, column] for column in self._columns)
        if len(self._plateau) != len(clock):
            self._plateau = torch.zeros(len(clock), dtype=torch.long, device=clock.device)
            self._planted = torch.zeros_like(self._plateau)
        started = clock > 0
        flat = started & (change < self.rules.plateau_gain)
        self._plateau = torch.where(flat, self._plateau + 1, 0)
        self._planted = torch.where(started, self._planted, 0)

        plant = self._plateau >= self.rules.plateau_steps
        falling = (blending + holding > 0) & (contribution < self.rules.cull_below)
        keep = contribution > self.rules.keep_above
        action = torch.zeros(len(clock), mask.ndim - 1, dtype=torch.long, device=mask.device)
        undecided = torch.ones_like(plant)
        for op, wanted in ((Op.CULL, falling), (Op.FOSSILIZE, keep), (Op.GERMINATE, plant)):
            choice, legal = self._next_planting(mask) if op == Op.GERMINATE else _first_legal(mask, op)
            chosen = undecided & wanted & legal
            action = torch.where(chosen[:, None], choice, action)
            undecided &= ~chosen
        self._planted += (action[:, 0] == Op.GERMINATE).long()
        return action

    def _next_planting(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next (site, blueprint) in turn that is legal, as an action, and whether there is one."""
        legal = mask[:, Op.GERMINATE].flatten(1)
        n_sites, n_kinds = mask.shape[2:]
        turns = torch.arange(n_sites * n_kinds, device=mask.device)
        cells = (turns % n_sites) * n_kinds + turns % n_kinds if n_sites != n_kinds else turns
        order = cells[(turns + self._planted[:, None]) % len(turns)]
        first = legal.gather(1, order).long().argmax(-1, keepdim=True)
        site, kind = torch.unravel_index(order.gather(1, first).squeeze(-1), (n_sites, n_kinds))
        return torch.stack([torch.full_like(site, Op.GERMINATE), site, kind], dim=-1), legal.any(-1)


def _column(specs: GrowthSpecs, name: str) -> int:
    if name not in specs.feature_names:
        raise SpecError(f"this baseline reads the observation column {name!r}; there are {list(specs.feature_names)}")
    return specs.feature_names.index(name)
