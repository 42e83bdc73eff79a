"""What a controller can see and do in somebody's model."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from tamiyo_trl.envs.growth.config import DEFAULT_BLUEPRINTS
from tamiyo_trl.envs.growth.extras import extras_of
from tamiyo_trl.envs.growth.features import Feature, Scene
from tamiyo_trl.envs.growth.hidden import Hidden
from tamiyo_trl.envs.growth.observations import feature_names, feature_set, observe
from tamiyo_trl.envs.growth.readings import History, Readings
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeds import LifecycleConfig, Stage
from tamiyo_trl.seeds.factories import check_blueprints


@dataclass(frozen=True)
class GrowthSpace:
    """Sites, blueprints, observation and timers that a controller knows.

    A trained controller brings the one it was trained in; for one that does not learn, choose it. The fields are
    those of `GrowthConfig`.

    Attributes:
        sites: Number of sites, S; a model may have fewer, not more.
        blueprints: Catalogue, by name, K; at a site of a form that a name has no factory for, it is masked.
        observation: "minimal", "snapshot", "summary", or one that was registered.
        lifecycle: Timers of a seed's life, in epochs.
        max_kept: Seeds that may be kept, None for any number.
        val_every: Steps between two validations that the controller was trained to see; your loop shows it all.
    """

    sites: int = 3
    blueprints: tuple[str, ...] = DEFAULT_BLUEPRINTS
    observation: str = "minimal"
    lifecycle: LifecycleConfig = field(default_factory=LifecycleConfig)
    max_kept: int | None = None
    val_every: int = 1

    def __post_init__(self) -> None:
        if self.sites < 1:
            raise ConfigError(f"sites must be positive: got {self.sites}")
        check_blueprints(self.blueprints)
        feature_set(self.observation)
        if (self.max_kept is not None and self.max_kept < 1) or self.val_every < 1:
            raise ConfigError(f"max_kept and val_every must be positive: got {self.max_kept} and {self.val_every}")

    @property
    def features(self) -> tuple[Feature, ...]:
        """The observation's table."""
        return (*feature_set(self.observation), *extras_of(self.max_kept, self.val_every))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Name of every observation column."""
        return feature_names(self.features, self.sites, self.blueprints)

    def scene(self, now: Readings, before: Readings, history: History, epochs: int, host_parameters: int) -> Scene:
        """Return what features are computed from, for the one model that is watched."""
        hidden, planted = Hidden.blank(1, self.sites), history.tried.sum((1, 2))
        return Scene(now, before, now, history, hidden, planted, epochs, host_parameters, self.blueprints)

    def reads(self, measurement: str) -> bool:
        """Return whether an observation depends on this field of `Readings` while a seed is live."""
        now = Readings.blank(1, self.sites)
        now.stage[0, 0], now.blueprint[0, 0] = int(Stage.TRAINING), 0
        other = now.clone()
        setattr(other, measurement, torch.ones_like(getattr(now, measurement)))
        history = History.blank(1, self.sites, len(self.blueprints))
        seen = [observe(self.features, self.scene(shown, now, history, 1, 1)) for shown in (now, other)]
        return not torch.equal(*seen)
