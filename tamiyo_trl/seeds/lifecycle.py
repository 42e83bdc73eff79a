"""The life of a seed: its stages, the legal transitions, and the timers that drive them; E hosts with S sites each."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tamiyo_trl.errors import ConfigError


class Stage(enum.IntEnum):
    """Where a site stands. TRAINING is the incubator: the seed learns, the forward pass does not see it."""

    DORMANT = 0
    TRAINING = 1
    BLENDING = 2
    HOLDING = 3
    FOSSILIZED = 4
    CULLED = 5


TRANSITIONS: dict[Stage, tuple[Stage, ...]] = {
    Stage.DORMANT: (Stage.TRAINING,),
    Stage.TRAINING: (Stage.BLENDING, Stage.CULLED),
    Stage.BLENDING: (Stage.HOLDING, Stage.CULLED),
    Stage.HOLDING: (Stage.FOSSILIZED, Stage.CULLED),
    Stage.FOSSILIZED: (),
    Stage.CULLED: (Stage.DORMANT,),
}
LIVE = (Stage.TRAINING, Stage.BLENDING, Stage.HOLDING)


@dataclass(frozen=True)
class LifecycleConfig:
    """Timers of a seed's life, in env steps (host epochs).

    Attributes:
        train_steps: Epochs in the incubator before blending starts.
        blend_steps: Epochs over which alpha rises to 1 (the last of them already has alpha 1).
        hold_steps: Epochs at alpha 1 before the seed may be fossilized.
        min_cull_age: Epochs a seed must have trained before it may be culled.
        embargo_steps: Epochs a site stays closed after a cull.
        blend_curve: Shape of alpha over the blend: "linear" s/T, or the spec era's "sigmoid" (domain rules 2.5).
        germinate_from: First step at which germination is legal.
        plateau_steps: Plateau steps in a row, on a stabilised host, that germination waits for; 0 does not wait.
    """

    train_steps: int = 2
    blend_steps: int = 3
    hold_steps: int = 1
    min_cull_age: int = 2
    embargo_steps: int = 1
    blend_curve: Literal["linear", "sigmoid"] = "linear"
    germinate_from: int = 0
    plateau_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("train_steps", "blend_steps", "embargo_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("hold_steps", "min_cull_age", "germinate_from", "plateau_steps"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.blend_curve not in ("linear", "sigmoid"):
            raise ConfigError(f"blend_curve must be 'linear' or 'sigmoid', got {self.blend_curve!r}")

    @classmethod
    def spec(cls) -> LifecycleConfig:
        """Return the spec era's rules (domain rules 2 and 5.1); germination waits for a plateau."""
        return cls(
            train_steps=3,
            blend_steps=5,
            hold_steps=2,
            min_cull_age=10,
            embargo_steps=1,
            blend_curve="sigmoid",
            germinate_from=5,
            plateau_steps=3,
        )

    @property
    def life_steps(self) -> int:
        """Steps from the germinating action to the first legal fossilizing one, both included."""
        return self.germinate_from + self.train_steps + self.blend_steps + self.hold_steps + 1


def blend_alpha(config: LifecycleConfig, step: int) -> float:
    """Return alpha in the `step`-th blending epoch (1..blend_steps); exactly 1 in the last.

    Source: sigmoid, the spec era's 0.5 (1 + tanh(0.5 (s - T/2))), with its end points forced to 0 and 1.
    """
    if step <= 0:
        return 0.0
    if step >= config.blend_steps:
        return 1.0
    if config.blend_curve == "linear":
        return step / config.blend_steps
    return 0.5 * (1.0 + math.tanh(0.5 * (step - config.blend_steps / 2)))


class Lifecycle:
    """Stages and timers of every site of E hosts; all moves go through the transition table.

    Attributes:
        stage: int64 [E, S], values of `Stage`.
        in_stage: int64 [E, S], epochs spent in the present stage.
        age: int64 [E, S], epochs trained since germination; 0 where there is no seed.
    """

    def __init__(self, config: LifecycleConfig, n_hosts: int, n_sites: int) -> None:
        self.config = config
        self.stage = torch.zeros(n_hosts, n_sites, dtype=torch.long)
        self.in_stage = torch.zeros_like(self.stage)
        self.age = torch.zeros_like(self.stage)
        steps = range(config.blend_steps + 1)
        self._alphas = torch.tensor([blend_alpha(config, step) for step in steps])

    def reset(self, hosts: Tensor) -> None:
        """Make every site of the flagged hosts (bool [E]) dormant."""
        for state in (self.stage, self.in_stage, self.age):
            state[hosts] = 0

    def move(self, host: int, site: int, to: Stage) -> None:
        """Move one site to another stage.

        Raises:
            ValueError: the transition is not in the table.
        """
        now = Stage(int(self.stage[host, site]))
        if to not in TRANSITIONS[now]:
            raise ValueError(f"host {host}, site {site}: {now.name} cannot become {to.name}")
        self.stage[host, site] = int(to)
        self.in_stage[host, site] = 0
        if to in (Stage.CULLED, Stage.DORMANT, Stage.TRAINING):
            self.age[host, site] = 0

    def advance(self) -> None:
        """Let one epoch pass: tick the timers, then make the transitions that are due."""
        config = self.config
        self.in_stage[self.stage != int(Stage.DORMANT)] += 1
        self.age[self.has_seed] += 1
        for stage, timer, to in (
            (Stage.TRAINING, config.train_steps, Stage.BLENDING),
            (Stage.BLENDING, config.blend_steps, Stage.HOLDING),
            (Stage.CULLED, config.embargo_steps, Stage.DORMANT),
        ):
            due = (self.stage == int(stage)) & (self.in_stage >= timer)
            for host, site in due.nonzero().tolist():
                self.move(host, site, to)

    @property
    def has_seed(self) -> Tensor:
        """Where a seed stands, live or fossil: bool [E, S]."""
        return self.is_live | (self.stage == int(Stage.FOSSILIZED))

    @property
    def is_live(self) -> Tensor:
        """Where a seed stands that is not yet decided on: bool [E, S]."""
        return (self.stage >= int(Stage.TRAINING)) & (self.stage <= int(Stage.HOLDING))

    @property
    def alpha(self) -> Tensor:
        """Weight of each seed in the coming epoch's forward pass: float32 [E, S] in 0..1."""
        blending = self._alphas[(self.in_stage + 1).clamp(max=self.config.blend_steps)]
        full = (self.stage == int(Stage.HOLDING)) | (self.stage == int(Stage.FOSSILIZED))
        return torch.where(self.stage == int(Stage.BLENDING), blending, full.float())

    @property
    def can_fossilize(self) -> Tensor:
        """Where fossilizing is physically possible: bool [E, S]."""
        return (self.stage == int(Stage.HOLDING)) & (self.in_stage >= self.config.hold_steps)

    @property
    def can_cull(self) -> Tensor:
        """Where culling is allowed: bool [E, S]."""
        return self.is_live & (self.age >= self.config.min_cull_age)

    @property
    def can_germinate(self) -> Tensor:
        """Where a seed can be planted: bool [E, S]; one live seed per host at a time."""
        return (self.stage == int(Stage.DORMANT)) & ~self.is_live.any(-1, keepdim=True)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the three state tensors."""
        return {"stage": self.stage.clone(), "in_stage": self.in_stage.clone(), "age": self.age.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.stage, self.in_stage, self.age = (state[name].clone() for name in ("stage", "in_stage", "age"))


class Op(enum.IntEnum):
    """The operation. Sites count for all but WAIT, blueprints for GERMINATE only; else their one legal value is 0."""

    WAIT = 0
    GERMINATE = 1
    FOSSILIZE = 2
    CULL = 3
