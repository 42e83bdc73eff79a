"""What a feature of an observation is, and what features are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from tamiyo_trl.envs.growth.hidden import Hidden
from tamiyo_trl.envs.growth.readings import WINDOW, History, Readings
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op


@dataclass(frozen=True)
class Scene:
    """All that features are computed from.

    Attributes:
        now, before: What is known of this step and of the previous one; validation may be that of an earlier step.
        exact: What this step measured.
        history: What is remembered of the episode.
        hidden: What only the privileged table may read.
        germinated: Seeds planted so far in the episode, float32 [E].
        episode_steps, host_parameters, blueprints: Of the world.
    """

    now: Readings
    before: Readings
    exact: Readings
    history: History
    hidden: Hidden
    germinated: Tensor
    episode_steps: int
    host_parameters: int
    blueprints: tuple[str, ...]

    @property
    def live(self) -> Tensor:
        """Where the live seed stands, float32 [E, S] (one-hot or all zero)."""
        stage = self.now.stage
        return ((stage >= int(Stage.TRAINING)) & (stage <= int(Stage.HOLDING))).float()

    def of_live(self, values: Tensor) -> Tensor:
        """Read a per-site quantity at the live seed's site: float32 [E], 0 without one."""
        return (values.float() * self.live).sum(-1)


# Where a feature comes from: the clock; the epoch's training; the validation pass after it and its counterfactual; the
# seeds' lives; the controller's own action; what was written down in earlier steps; what no policy may see.
SOURCES = ("clock", "training", "validation", "seeds", "action", "memory", "hidden")


@dataclass(frozen=True)
class Feature:
    """One row of an observation table.

    Attributes:
        name: Column name; features of several columns get a suffix each.
        formula: How it is computed, in words a reader can check.
        unit: Unit of the value shown.
        source: What it is read from, one of `SOURCES`.
        low, high: Range; values are clipped to it.
        compute: Scene -> float32 [E] or [E, columns].
        columns: Suffixes of a feature with several columns, given (sites, blueprints).
    """

    name: str
    formula: str
    unit: str
    source: str
    low: float
    high: float
    compute: Callable[[Scene], Tensor]
    columns: Callable[[int, tuple[str, ...]], list[str]] = lambda n_sites, blueprints: [""]


def symlog(x: Tensor) -> Tensor:
    """Return sign(x) log(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def per_site(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    """Return suffixes: one column per site."""
    return [f" {site}" for site in range(n_sites)]


def per_kind(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    """Return suffixes: one column per blueprint."""
    return [f" {name}" for name in blueprints]


def per_window(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    """Return suffixes: one column per remembered step, oldest first."""
    return [f" {back}" for back in range(WINDOW - 1, -1, -1)]


def per_stage(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    """Return suffixes: one column per stage of a live seed."""
    return [" none", " TRAINING", " BLENDING", " HOLDING"]


def per_site_and_stage(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    """Return suffixes: one column per site and stage."""
    return [f" {site} {stage.name}" for site in range(n_sites) for stage in Stage]


def per_op(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    """Return suffixes: one column per op."""
    return [f" {op.name}" for op in Op]


def per_site_and_kind(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    """Return suffixes: one column per site and blueprint."""
    return [f" {site} {name}" for site in range(n_sites) for name in blueprints]
