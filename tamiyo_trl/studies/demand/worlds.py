"""The named worlds whose demand on memory is measured, from none to much (docs/worlds.md says why each is natural)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.errors import ConfigError

FEW = 16  # validation images where nobody looks at them


@dataclass(frozen=True)
class Setting:
    """What makes a world.

    Attributes:
        family, max_kept, val_every: As in `GrowthConfig`.
        val_share: Share of the usual validation images that is shown.
    """

    family: str
    max_kept: int | None = None
    val_share: float = 1.0
    val_every: int = 1


WORLDS: dict[str, Setting] = {
    "mixed": Setting("mixed"),
    "mixed-keep1": Setting("mixed", max_kept=1),
    "noisy": Setting("mixed", val_share=0.25),
    "rare": Setting("mixed", val_every=3),
    "duds": Setting("duds"),
    "duds-keep1": Setting("duds", max_kept=1),
    "duds-keep2": Setting("duds", max_kept=2),
    "duds-keep1-noisy": Setting("duds", max_kept=1, val_share=0.25),
}


def make_world(name: str, base: GrowthConfig) -> GrowthConfig:
    """Return the settings of a named world; all else, the privileged entry apart, is as in `base`.

    Raises:
        ConfigError: there is no such world.
    """
    if name not in WORLDS:
        raise ConfigError(f"a world must be one of {', '.join(WORLDS)}; got {name!r}")
    return _apply(WORLDS[name], base)


def free_world(name: str, base: GrowthConfig) -> GrowthConfig:
    """Return the world that a named world's plans are measured in: as many seeds kept as there are sites.

    A fixed plan sees nothing but the clock, so that worlds of one family share what plans are worth, and a handful of
    validation images will do; they change nothing of the training.
    """
    found = _apply(Setting(make_world(name, base).family), base)
    splits = dataclasses.replace(base.splits, val=min(FEW, base.splits.val), reward=0)
    return dataclasses.replace(found, splits=splits)


def _apply(own: Setting, base: GrowthConfig) -> GrowthConfig:
    return dataclasses.replace(
        base,
        family=own.family,
        max_kept=own.max_kept,
        val_every=own.val_every,
        splits=dataclasses.replace(base.splits, val=max(1, round(own.val_share * base.splits.val))),
        privileged=True,
    )
