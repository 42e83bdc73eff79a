"""The configuration of GrowthEnv: task, hosts, their training, lifecycle, observation and reward."""

from __future__ import annotations

from dataclasses import dataclass, field

from tamiyo_trl import keys
from tamiyo_trl.data import DataSource, SplitSizes
from tamiyo_trl.data.tasks import TASKS
from tamiyo_trl.envs.growth.extras import extras_of
from tamiyo_trl.envs.growth.family import Family, make_family
from tamiyo_trl.envs.growth.features import Feature
from tamiyo_trl.envs.growth.observations import feature_names, feature_set
from tamiyo_trl.envs.growth.privileged import privileged_features
from tamiyo_trl.envs.growth.rewards import RewardConfig, reward_parts
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.hosts.host_modules import BUILT_IN
from tamiyo_trl.hosts.module_fleet import MODULES
from tamiyo_trl.seeds import LifecycleConfig
from tamiyo_trl.seeds.blueprints import BLUEPRINTS
from tamiyo_trl.seeds.factories import check_blueprints

DEFAULT_BLUEPRINTS = ("norm", "attention", "depthwise", "conv_light", "conv_heavy", "wide", "lossy")
FEW_IMAGES, MANY_IMAGES = 256, 512  # a host's epoch at 8x8 and at 16x16 and more


@dataclass(frozen=True)
class HostTrainingConfig:
    """How hosts and seeds train.

    Attributes:
        images_per_step: Training images per host and env step (one host epoch); 0 takes 256 where images are smaller
            than 16 pixels, else 512 (see `GrowthConfig.images_per_step`).
        batch_size: Minibatch size per host.
        lr: Learning rate of host and seeds (SGD).
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        decay_from: First step at which the learning rate falls, linearly towards the episode's end; the episode's
            length or more keeps it constant.
        lr_floor: Share of the learning rate that remains at least.
    """

    images_per_step: int = 0
    batch_size: int = 32
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_from: int = 10
    lr_floor: float = 0.05

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.images_per_step < 0:
            raise ConfigError(
                f"batch_size must be at least 2 and images_per_step not negative: "
                f"got {self.batch_size} and {self.images_per_step}"
            )
        if self.lr <= 0:
            raise ConfigError(f"lr must be positive, got {self.lr}")


@dataclass(frozen=True)
class GrowthConfig:
    """What GrowthEnv simulates.

    Attributes:
        task: Image task: "digits" (embedded), "templates" or "fresh-templates" (procedural; fresh
            ones differ between episodes), or "cifar10" (from disk).
        image_size: Edge of the images in pixels (digits: 16 in colour, or 8 in grey, which is several times cheaper).
        family: "mixed" draws a hidden deficit for each episode, "mixed:contrast" (or another of its deficits, or one
            you registered) always has that one, "mixed:contrast+slow" one of these, "single" keeps one healthy host.
            "duds" has the hosts of "mixed", and half of its seeds do not take.
        episode_steps: Env steps (host epochs) per episode.
        channels: Width of each host block.
        sites: Blocks behind which seeds may grow.
        blueprints: Catalogue of seed architectures, by name.
        data: Where "cifar10" lies, and whether to fetch it.
        splits: Images per split of an episode.
        training: How hosts and seeds train.
        lifecycle: Timers of a seed's life.
        max_kept: Seeds that may be kept: once so many fossils stand, germination is closed; None sets no limit.
        val_every: Steps between two validations that the controller sees; in between it sees the last, with its age.
            (Rewards know every step's.)
        observation: "minimal", "snapshot" or "summary".
        privileged: Whether to show the entry `privileged` as well: the hidden deficit, seed qualities and the whole
            situation, for a critic or a teacher.
        reward: "gain", "sparse" or "contribution".
        rewards: Scale and prices of the reward.
        host: "cnn", the built-in one, or a network of your own by the name it was registered under (`register_host`),
            which needs the engine "modules" and its sites' widths as `channels`.
        engine: How hosts are computed: in lockstep ("auto", "grouped" or "looped"), or by "modules" one after the other
            under autograd: slower, for any network and any registered blueprint.
        precision: "fp32", or "bf16" autocast.
    """

    task: str = "digits"
    image_size: int = 16
    family: str = "mixed"
    episode_steps: int = 25
    channels: tuple[int, ...] = (8, 16, 32)
    sites: tuple[int, ...] = (0, 1, 2)
    blueprints: tuple[str, ...] = DEFAULT_BLUEPRINTS
    data: DataSource = field(default_factory=DataSource)
    splits: SplitSizes = field(default_factory=SplitSizes)
    training: HostTrainingConfig = field(default_factory=HostTrainingConfig)
    lifecycle: LifecycleConfig = field(default_factory=LifecycleConfig)
    max_kept: int | None = None
    val_every: int = 1
    observation: str = "snapshot"
    privileged: bool = False
    reward: str = "gain"
    rewards: RewardConfig = field(default_factory=RewardConfig)
    host: str = BUILT_IN
    engine: str = "auto"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"task must be one of {sorted(TASKS)}, got {self.task!r}")
        feature_set(self.observation)
        reward_parts(self.reward)
        if self.episode_steps < self.lifecycle.life_steps:
            raise ConfigError(
                f"episode_steps must hold one seed life of {self.lifecycle.life_steps} steps, got {self.episode_steps}"
            )
        if not self.sites or any(not 0 <= site < len(self.channels) for site in self.sites):
            raise ConfigError(f"sites must be block numbers 0..{len(self.channels) - 1}, got {self.sites}")
        if list(self.sites) != sorted(set(self.sites)):
            raise ConfigError(f"sites must be distinct and ascending, got {self.sites}")
        check_blueprints(self.blueprints)
        unknown = sorted(set(self.blueprints) - set(BLUEPRINTS))
        if self.engine != MODULES and (unknown or self.host != BUILT_IN):
            what = f"host {self.host!r}" if self.host != BUILT_IN else f"blueprints {', '.join(unknown)}"
            raise ConfigError(f"{what}: the engine {self.engine!r} does not know them, take engine {MODULES!r}")
        if self.image_size not in TASKS[self.task].image_sizes:
            raise ConfigError(f"{self.task} has image sizes {TASKS[self.task].image_sizes}, got {self.image_size}")
        if self.images_per_step % self.training.batch_size:
            raise ConfigError(
                f"batch_size must divide images_per_step: "
                f"{self.training.batch_size} and {self.images_per_step} do not fit"
            )
        if self.max_kept is not None and self.max_kept < 1:
            raise ConfigError(f"max_kept must be at least 1, or None for no limit: got {self.max_kept}")
        if self.val_every < 1:
            raise ConfigError(f"val_every must be at least 1, got {self.val_every}")
        make_family(self.family, self.image_size, self.task)
        if min(self.splits.train, self.splits.val, self.splits.test) < 1:
            raise ConfigError(f"every split but `reward` needs at least one image, got {self.splits}")
        if self.splits.reward < 0:
            raise ConfigError(f"splits.reward must be 0 (validation images pay) or more, got {self.splits.reward}")

    @property
    def images_per_step(self) -> int:
        """Training images per host and env step."""
        own = FEW_IMAGES if self.image_size < 16 else MANY_IMAGES
        return self.training.images_per_step or own

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Name of every observation column."""
        return self._names(keys.OBSERVATION)

    @property
    def privileged_names(self) -> tuple[str, ...]:
        """Name of every column of the entry `privileged`.

        Raises:
            ConfigError: this configuration does not show it.
        """
        if not self.privileged:
            raise ConfigError("there is no privileged entry to name: set privileged=True")
        return self._names(keys.PRIVILEGED)

    @property
    def views(self) -> dict[str, tuple[Feature, ...]]:
        """The feature tables to be shown, by entry."""
        extras = extras_of(self.max_kept, self.val_every)
        views = {keys.OBSERVATION: (*feature_set(self.observation), *extras)}
        if self.privileged:
            family: Family = make_family(self.family, self.image_size, self.task)
            views[keys.PRIVILEGED] = privileged_features(tuple(deficit.name for deficit in family.deficits))
        return views

    def _names(self, entry: str) -> tuple[str, ...]:
        return feature_names(self.views[entry], len(self.sites), self.blueprints)

    @classmethod
    def spec(cls) -> GrowthConfig:
        """Return the design spec's own setting, on the embedded images.

        32-64-128 channels, one site after block 2, the five reference blueprints, the spec era's lifecycle, constant
        learning rate 0.01, batches of 128. `FlatAction` makes its actions the spec's eight.
        """
        return cls(
            family="single",
            channels=(32, 64, 128),
            sites=(1,),
            blueprints=DEFAULT_BLUEPRINTS[:5],
            training=HostTrainingConfig(batch_size=128, lr=0.01, decay_from=25),
            lifecycle=LifecycleConfig.spec(),
        )
