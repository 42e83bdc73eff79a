"""What can be wrong with a host or a seed, and how strongly: every strength of the hidden worlds in one place.

`register_deficit` adds one of your own, by name.

Deficits are as strong as the task and the image size want them, so that what helps under one deficit differs from what
helps under another. They were set on final validation accuracies of tuning seeds; what they amount to on other seeds is
measured by `recipes/map_effects.py` and lies in `docs/results/effects/`. At one image size a family's deficits have the
same names in the same order whatever the task.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tamiyo_trl.data import Corruption
from tamiyo_trl.errors import ConfigError


@dataclass(frozen=True)
class Deficit:
    """What is wrong with a host or its data; hidden from the controller.

    Attributes:
        name: What reports call it.
        corruption: What is wrong with the data.
        lr_scale: Factor on the host's learning rate (seeds keep theirs).
        stuck_block: Block whose convolution never trains, or None.
        alive_channels: Non-zero output channels of the stuck block.
    """

    name: str
    corruption: Corruption = field(default_factory=Corruption)
    lr_scale: float = 1.0
    stuck_block: int | None = None
    alive_channels: int | None = None


@dataclass(frozen=True)
class QualityRange:
    """What a germinated seed's hidden quality is drawn from.

    Attributes:
        dead_shares: Share of units that are dead, drawn uniformly from these; 1 is a dud, which leaves its host as it
            is whatever its blueprint.
        lr_scale: Bounds of the factor on the seed's learning rate, log-uniform.
        init_scale: Bounds of the factor on its last layer's initial weights, log-uniform.
    """

    dead_shares: tuple[float, ...] = (0.0,)
    lr_scale: tuple[float, float] = (1.0, 1.0)
    init_scale: tuple[float, float] = (1.0, 1.0)


# A seed's hidden quality. Dead units weaken it; a learning rate far above the host's can turn a seed at the last site
# against a host that is well. Initial scales are all alike.
HIDDEN_QUALITY = QualityRange(dead_shares=(0.0, 0.0, 0.5, 0.9), lr_scale=(0.25, 5.0))

# Half of all seeds do not take: a dud, all of whose units are dead, leaves the host as it is for good. The others do.
HALF_DUDS = QualityRange(dead_shares=(0.0, 1.0), lr_scale=(0.7, 1.4))

HEALTHY = Deficit("healthy")  # growing hardly pays
NOISY = Deficit("noisy labels", Corruption(label_noise=0.35, pool_size=512))  # nothing mends it


def _contrast(contrast: float, brightness: float) -> Deficit:
    """Images of very different contrast: a norm at the first site mends it."""
    return Deficit("contrast", Corruption(contrast=contrast, brightness=brightness))


def _slow(factor: float) -> Deficit:
    """A host that hardly learns: a late seed, which learns at its own rate, mends it."""
    return Deficit("slow", lr_scale=factor)


def _stuck(block: int, alive: int) -> Deficit:
    """Block number `block` (from 0) is frozen with few channels alive: capacity before it mends it."""
    return Deficit(f"stuck{block}", stuck_block=block, alive_channels=alive)


# The mixed family by image size. At 8x8 no choice separates a stuck last block, and `healthy` is left to the family
# `single`: noisy labels are to be left alone already, and each such deficit dilutes what there is to decide.
_DIGITS_8 = (_contrast(1.7, 0.4), _slow(0.035), _stuck(1, 4), NOISY)
_DIGITS_16 = (_contrast(1.4, 0.5), _slow(0.06), _stuck(1, 4), _stuck(2, 6), NOISY, HEALTHY)
_TEMPLATES_8 = (_contrast(1.3, 0.3), _slow(0.035), _stuck(1, 2), NOISY)
_TEMPLATES_16 = _DIGITS_16

# By task and image size. Tuned: digits 8 and 16, templates 8; templates 16 is measured too. The others take the nearest
# one's strengths.
MIXED: dict[tuple[str, int], tuple[Deficit, ...]] = {
    ("digits", 8): _DIGITS_8,
    ("digits", 16): _DIGITS_16,
    ("templates", 8): _TEMPLATES_8,
    ("templates", 16): _TEMPLATES_16,
    ("templates", 32): _TEMPLATES_16,
    ("fresh-templates", 8): _TEMPLATES_8,
    ("fresh-templates", 16): _TEMPLATES_16,
    ("fresh-templates", 32): _TEMPLATES_16,
    ("cifar10", 16): _DIGITS_16,
    ("cifar10", 32): _DIGITS_16,
}

# Deficits beyond those of the mixed families, by name: whoever names one gets it.
REGISTERED: dict[str, Deficit] = {HEALTHY.name: HEALTHY}


def register_deficit(deficit: Deficit) -> None:
    """Let hosts have this deficit: alone as `family="mixed:<name>"`, or among others as `"mixed:slow+<name>"`.

    The family `mixed` itself stays as it is, so that what was measured of it still holds. Worker processes import your
    script anew: register where it is imported, not under `if __name__ == "__main__"`.

    Raises:
        ConfigError: the name is another deficit's, or could not be asked for.
    """
    check_name("deficit", deficit.name)
    taken = {own.name for family in MIXED.values() for own in family}
    # By what they say: a notebook's cell that is run again makes a class anew, equal in all but identity.
    if deficit.name in taken or repr(REGISTERED.get(deficit.name, deficit)) != repr(deficit):
        raise ConfigError(f"the name of deficit {deficit.name!r} is taken; choose another")
    REGISTERED[deficit.name] = deficit


def check_name(what: str, name: str) -> None:
    """Refuse a name that could not be written in a family's.

    Raises:
        ConfigError: it is empty, padded, or holds a separator.
    """
    if not name.isprintable() or name != name.strip() or not name or set(name) & set(":+"):
        raise ConfigError(f"a {what} must have a name without ':', '+' and outer blanks, got {name!r}")
