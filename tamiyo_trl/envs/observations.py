"""What the controller sees: three named sets of features, each a table that is also the documentation.

`minimal` is what the design spec argues from, `snapshot` adds everything that one step's measurements can tell, and
`summary` adds hand-made memory. Nothing in the first two depends on anything before the previous step. Every feature is
finite and within its range; heavy tails go through symlog(x) = sign(x) log(1 + |x|); "missing" has its own flag.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ConfigError
from ..seeds import Stage
from .actions import Op
from .readings import WINDOW, History, Readings


@dataclass(frozen=True)
class Scene:
    """All that features are computed from: this step's readings, the previous step's, and the episode's history."""

    now: Readings
    before: Readings
    history: History
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


# Where a feature comes from: the clock; the epoch's training; the validation pass after it, counterfactual included; the
# seeds' lives; the controller's own action; what was written down in earlier steps.
SOURCES = ("clock", "training", "validation", "seeds", "action", "memory")


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


def _sites(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    return [f" {site}" for site in range(n_sites)]


def _kinds(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    return [f" {name}" for name in blueprints]


def _window(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    return [f" {back}" for back in range(WINDOW - 1, -1, -1)]


def _stages(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    return [" none", " TRAINING", " BLENDING", " HOLDING"]


def _ops(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    return [f" {op.name}" for op in Op]


def _sites_kinds(n_sites: int, blueprints: tuple[str, ...]) -> list[str]:
    return [f" {site} {name}" for site in range(n_sites) for name in blueprints]


def _change(name: str) -> Callable[[Scene], Tensor]:
    return lambda scene: getattr(scene.now, name) - getattr(scene.before, name)


def _live_kind(scene: Scene) -> Tensor:
    kind = (scene.now.blueprint.clamp(min=0) * scene.live.long()).sum(-1)
    return F.one_hot(kind, len(scene.blueprints)).float() * scene.live.sum(-1, keepdim=True)


MINIMAL: tuple[Feature, ...] = (
    Feature("time", "steps taken / episode steps", "1", "clock", 0, 1, lambda s: s.now.step / s.episode_steps),
    Feature(
        "train loss", "symlog(mean over the epoch)", "log nats", "training", 0, 5, lambda s: symlog(s.now.train_loss)
    ),
    Feature("val loss", "symlog(validation loss)", "log nats", "validation", 0, 5, lambda s: symlog(s.now.val_loss)),
    Feature("train accuracy", "mean over the epoch", "fraction", "training", 0, 1, lambda s: s.now.train_accuracy),
    Feature("val accuracy", "on the validation split", "fraction", "validation", 0, 1, lambda s: s.now.val_accuracy),
    Feature("train loss change", "since the last step", "nats", "training", -2, 2, _change("train_loss")),
    Feature("val loss change", "since the last step", "nats", "validation", -2, 2, _change("val_loss")),
    Feature("train accuracy change", "since the last step", "fraction", "training", -1, 1, _change("train_accuracy")),
    Feature("val accuracy change", "since the last step", "fraction", "validation", -1, 1, _change("val_accuracy")),
    Feature(
        "seed stage",
        "one-hot of the live seed's stage",
        "0/1",
        "seeds",
        0,
        1,
        lambda s: F.one_hot(s.of_live(s.now.stage).long(), 4).float(),
        _stages,
    ),
    Feature(
        "seed age",
        "the live seed's age / episode steps",
        "1",
        "seeds",
        0,
        1,
        lambda s: s.of_live(s.now.age) / s.episode_steps,
    ),
    Feature(
        "seed alpha", "the live seed's alpha in the coming epoch", "1", "seeds", 0, 1, lambda s: s.of_live(s.now.alpha)
    ),
)

SNAPSHOT: tuple[Feature, ...] = (
    *MINIMAL,
    Feature("live site", "where the live seed stands", "0/1", "seeds", 0, 1, lambda s: s.live, _sites),
    Feature("live blueprint", "one-hot of the live seed's blueprint", "0/1", "seeds", 0, 1, _live_kind, _kinds),
    Feature(
        "fossil at",
        "a fossil stands at the site",
        "0/1",
        "seeds",
        0,
        1,
        lambda s: (s.now.stage == int(Stage.FOSSILIZED)).float(),
        _sites,
    ),
    Feature(
        "embargo at",
        "the site is closed after a cull",
        "0/1",
        "seeds",
        0,
        1,
        lambda s: (s.now.stage == int(Stage.CULLED)).float(),
        _sites,
    ),
    Feature(
        "contribution",
        "val accuracy with the live seed minus without it (in the incubator: at alpha 1 minus without)",
        "fraction",
        "validation",
        -1,
        1,
        lambda s: s.now.contribution,
    ),
    Feature(
        "has contribution",
        "whether it was measured",
        "0/1",
        "validation",
        0,
        1,
        lambda s: s.now.has_contribution.float(),
    ),
    Feature(
        "host gradient", "symlog(mean gradient norm)", "log", "training", 0, 5, lambda s: symlog(s.now.host_grad_norm)
    ),
    Feature(
        "seed gradient",
        "symlog(live seed's mean gradient norm)",
        "log",
        "training",
        0,
        5,
        lambda s: symlog(s.now.seed_grad_norm),
    ),
    Feature(
        "growth",
        "log(1 + added parameters / host parameters)",
        "log",
        "seeds",
        0,
        5,
        lambda s: (s.now.added_parameters / s.host_parameters).log1p(),
    ),
    Feature(
        "last op",
        "one-hot of the last action's op",
        "0/1",
        "action",
        0,
        1,
        lambda s: F.one_hot(s.now.op, len(Op)).float(),
        _ops,
    ),
)

SUMMARY: tuple[Feature, ...] = (
    *SNAPSHOT,
    Feature(
        "val loss window",
        "symlog of the last five, oldest first; 0 where missing",
        "log nats",
        "memory",
        0,
        5,
        lambda s: symlog(s.history.val_losses) * s.history.window_valid,
        _window,
    ),
    Feature(
        "val accuracy window",
        "the last five, oldest first; 0 where missing",
        "fraction",
        "memory",
        0,
        1,
        lambda s: s.history.val_accuracies * s.history.window_valid,
        _window,
    ),
    Feature(
        "window valid",
        "whether that entry was measured",
        "0/1",
        "memory",
        0,
        1,
        lambda s: s.history.window_valid.float(),
        _window,
    ),
    Feature(
        "best accuracy",
        "best validation accuracy so far",
        "fraction",
        "memory",
        0,
        1,
        lambda s: s.history.best_accuracy,
    ),
    Feature(
        "plateau",
        "steps in a row with less than 0.005 gain / 5",
        "1",
        "memory",
        0,
        5,
        lambda s: s.history.plateau / WINDOW,
    ),
    Feature(
        "germination accuracy",
        "val accuracy when the live seed was planted; 0 without one (see seed stage)",
        "fraction",
        "memory",
        0,
        1,
        lambda s: s.history.germination_accuracy * s.live.sum(-1),
    ),
    Feature(
        "tried at",
        "germinations of this blueprint at this site in this episode / 3",
        "1",
        "memory",
        0,
        3,
        lambda s: s.history.tried.flatten(1) / 3,
        _sites_kinds,
    ),
    Feature(
        "outcome at",
        "val accuracy change over the life of the last decided seed of this kind there; 0 if none (see tried at)",
        "fraction",
        "memory",
        -1,
        1,
        lambda s: s.history.outcome.flatten(1),
        _sites_kinds,
    ),
)

OBSERVATIONS: dict[str, tuple[Feature, ...]] = {"minimal": MINIMAL, "snapshot": SNAPSHOT, "summary": SUMMARY}


def feature_set(name: str) -> tuple[Feature, ...]:
    """Return the named observation table.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in OBSERVATIONS:
        raise ConfigError(f"observation must be one of {sorted(OBSERVATIONS)}, got {name!r}")
    return OBSERVATIONS[name]


def feature_names(features: tuple[Feature, ...], n_sites: int, blueprints: tuple[str, ...]) -> tuple[str, ...]:
    """Return the name of every observation column, in order."""
    return tuple(item.name + suffix for item in features for suffix in item.columns(n_sites, blueprints))


def feature_bounds(features: tuple[Feature, ...], n_sites: int, blueprints: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return the lower and upper bound of every column, float32 [F] each."""
    widths = [len(item.columns(n_sites, blueprints)) for item in features]
    low = [float(item.low) for item, width in zip(features, widths, strict=True) for _ in range(width)]
    high = [float(item.high) for item, width in zip(features, widths, strict=True) for _ in range(width)]
    return torch.tensor(low), torch.tensor(high)


def observe(features: tuple[Feature, ...], scene: Scene) -> Tensor:
    """Return the observation, float32 [E, F]; non-finite measurements read as the nearest bound, NaN as the upper."""
    columns = []
    for item in features:
        value = item.compute(scene).float()
        value = value if value.ndim == 2 else value[:, None]
        columns.append(value.nan_to_num(nan=item.high).clamp(item.low, item.high))
    return torch.cat(columns, dim=-1)
