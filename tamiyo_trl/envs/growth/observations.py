"""What the controller sees: three named sets of features, each a table that is also the documentation.

`minimal` is what the design spec argues from, `snapshot` adds everything that one step's measurements can tell, and
`summary` adds hand-made memory. Nothing in the first two depends on anything before the previous step. Every feature is
finite and within its range; heavy tails go through symlog(x) = sign(x) log(1 + |x|); "missing" has its own flag.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tamiyo_trl.envs.growth.features import (
    Feature,
    Scene,
    per_kind,
    per_op,
    per_site,
    per_site_and_kind,
    per_stage,
    per_window,
    symlog,
)
from tamiyo_trl.envs.growth.readings import WINDOW
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op


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
        per_stage,
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
    Feature("live site", "where the live seed stands", "0/1", "seeds", 0, 1, lambda s: s.live, per_site),
    Feature("live blueprint", "one-hot of the live seed's blueprint", "0/1", "seeds", 0, 1, _live_kind, per_kind),
    Feature(
        "fossil at",
        "a fossil stands at the site",
        "0/1",
        "seeds",
        0,
        1,
        lambda s: (s.now.stage == int(Stage.FOSSILIZED)).float(),
        per_site,
    ),
    Feature(
        "embargo at",
        "the site is closed after a cull",
        "0/1",
        "seeds",
        0,
        1,
        lambda s: (s.now.stage == int(Stage.CULLED)).float(),
        per_site,
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
        per_op,
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
        per_window,
    ),
    Feature(
        "val accuracy window",
        "the last five, oldest first; 0 where missing",
        "fraction",
        "memory",
        0,
        1,
        lambda s: s.history.val_accuracies * s.history.window_valid,
        per_window,
    ),
    Feature(
        "window valid",
        "whether that entry was measured",
        "0/1",
        "memory",
        0,
        1,
        lambda s: s.history.window_valid.float(),
        per_window,
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
        per_site_and_kind,
    ),
    Feature(
        "outcome at",
        "val accuracy change over the life of the last decided seed of this kind there; 0 if none (see tried at)",
        "fraction",
        "memory",
        -1,
        1,
        lambda s: s.history.outcome.flatten(1),
        per_site_and_kind,
    ),
)

OBSERVATIONS: dict[str, tuple[Feature, ...]] = {"minimal": MINIMAL, "snapshot": SNAPSHOT, "summary": SUMMARY}


def register_observation(name: str, features: tuple[Feature, ...]) -> None:
    """Let controllers see this table as `observation=name`; start from `MINIMAL` or another and add your own features.

    Worker processes import your script anew: register where it is imported, not under `if __name__ == "__main__"`.

    Raises:
        ConfigError: the name is another table's, or two features have one name.
    """
    own = [item.name for item in features]
    if not own or len(set(own)) < len(own):
        raise ConfigError(f"the features of {name!r} must have distinct names and be at least one: got {own}")
    known = OBSERVATIONS.get(name, features)
    # By name: a notebook's cell that is run again makes the table anew.
    if [item.name for item in known] != own:
        raise ConfigError(f"the name of observation {name!r} is taken; choose another")
    OBSERVATIONS[name] = features


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
