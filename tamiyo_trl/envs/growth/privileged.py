"""What a privileged critic or a teacher may see besides, and a policy never: the hidden facts and the whole situation.

A table like the observation sets, in columns that depend on the family: one per deficit.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tamiyo_trl.envs.growth.features import Feature, Scene, per_site, per_site_and_kind, per_site_and_stage
from tamiyo_trl.seeds import Stage


def privileged_features(deficits: tuple[str, ...]) -> tuple[Feature, ...]:
    """Return the table of the entry `privileged` for a family of these deficits."""
    return (
        Feature(
            "deficit",
            "one-hot of the hidden deficit",
            "0/1",
            "hidden",
            0,
            1,
            lambda s: F.one_hot(s.hidden.deficit, len(deficits)).float(),
            lambda n_sites, blueprints: [f" {name}" for name in deficits],
        ),
        *QUALITY,
        *SITUATION,
    )


def _kind_at(scene: Scene) -> Tensor:
    """One-hot of the blueprint at every site, float32 [E, S K]; all zero where none stands."""
    kind = scene.now.blueprint
    shown = F.one_hot(kind.clamp(min=0), len(scene.blueprints)) * (kind >= 0)[..., None]
    return shown.float().flatten(1)


# Of the seed that stands at each site, fossils too.
QUALITY: tuple[Feature, ...] = (
    Feature(
        "dead share at",
        "share of the seed's units that are dead; 0 if none stands",
        "fraction",
        "hidden",
        0,
        1,
        lambda s: s.hidden.dead_share,
        per_site,
    ),
    Feature(
        "seed rate at",
        "log of the factor on the seed's learning rate; 0 if none stands",
        "log",
        "hidden",
        -3,
        3,
        lambda s: s.hidden.lr_scale.log(),
        per_site,
    ),
    Feature(
        "seed scale at",
        "log of the factor on the seed's initial last layer; 0 if none stands",
        "log",
        "hidden",
        -3,
        3,
        lambda s: s.hidden.init_scale.log(),
        per_site,
    ),
)

SITUATION: tuple[Feature, ...] = (
    Feature("time", "steps taken / episode steps", "1", "clock", 0, 1, lambda s: s.now.step / s.episode_steps),
    Feature(
        "stage at",
        "one-hot of the site's stage",
        "0/1",
        "seeds",
        0,
        1,
        lambda s: F.one_hot(s.now.stage, len(Stage)).float().flatten(1),
        per_site_and_stage,
    ),
    Feature("blueprint at", "one-hot of the seed's blueprint", "0/1", "seeds", 0, 1, _kind_at, per_site_and_kind),
    Feature(
        "age at",
        "the seed's age / episode steps",
        "1",
        "seeds",
        0,
        1,
        lambda s: s.now.age / s.episode_steps,
        per_site,
    ),
    Feature("alpha at", "alpha in the coming epoch", "1", "seeds", 0, 1, lambda s: s.now.alpha, per_site),
    Feature(
        "exact val accuracy",
        "measured in this step, whatever the observation shows",
        "fraction",
        "validation",
        0,
        1,
        lambda s: s.exact.val_accuracy,
    ),
    Feature(
        "exact contribution",
        "measured in this step: val accuracy with the live seed minus without it (in the incubator: at alpha 1 minus "
        "without); 0 without one",
        "fraction",
        "validation",
        -1,
        1,
        lambda s: s.exact.contribution,
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
        "germinations",
        "seeds planted so far in the episode / 5",
        "1",
        "seeds",
        0,
        5,
        lambda s: s.germinated / 5,
    ),
)
