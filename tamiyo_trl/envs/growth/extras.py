"""Columns that a setting of the world adds to whichever observation set is shown: what it makes worth knowing."""

from __future__ import annotations

from tamiyo_trl.envs.growth.features import Feature
from tamiyo_trl.seeds import Stage

# With `max_kept`: else a controller that shows no sites could not know why germination is closed.
KEPT = Feature(
    "kept",
    "fossils standing / 3",
    "1",
    "seeds",
    0,
    3,
    lambda s: (s.now.stage == int(Stage.FOSSILIZED)).sum(-1) / 3,
)

# With `val_every` above 1: the last reading is shown until the next, so its age says what it is worth.
READING_AGE = Feature(
    "val age",
    "steps since validation was measured / 5",
    "1",
    "clock",
    0,
    5,
    lambda s: s.now.val_age / 5,
)

EXTRAS = (KEPT, READING_AGE)


def extras_of(max_kept: int | None, val_every: int) -> tuple[Feature, ...]:
    """Return the columns that these settings add."""
    return (*((KEPT,) if max_kept is not None else ()), *((READING_AGE,) if val_every > 1 else ()))
