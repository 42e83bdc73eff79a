"""One host's episode as a text screen of 80 columns and 24 lines, and the keys a person plays it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tamiyo_trl.envs.growth.config import GrowthConfig
from tamiyo_trl.envs.growth.readings import Readings
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.seeds import Stage
from tamiyo_trl.seeds.lifecycle import Op

Action = tuple[int, int, int]

WIDTH, CURVE_LINES, BAR = 80, 5, 10
WAIT_KEY, FOSSILIZE_KEY, CULL_KEY, HELP_KEY, QUIT_KEY = "wfchq"
PLANTING_KEYS = "abdegijklmnoprstuvxyzABDEGIJKLMNOPRSTUVXYZ123456789"  # without those of the other moves
ABOUT = {
    "norm": "evens out contrast and brightness; cheap",
    "attention": "weighs channels by what the image shows; cheap",
    "depthwise": "a small filter per channel",
    "conv_light": "one more 3x3 convolution",
    "conv_heavy": "two more 3x3 convolutions; learns at its own rate",
    "wide": "four times the channels for a moment; dear, strong",
    "lossy": "blurs and narrows: does harm",
}
HELP = f"""\
A small network, the host, learns to classify images, one epoch a step. Something
is wrong with it or with its images, and you are not told what. You may plant one
seed at a time behind one of its blocks (a site):
  planted   it learns beside the host; the host does not see it yet
  blending  it is mixed in little by little (its bar fills)
  holding   it is fully in: keep it for good ({FOSSILIZE_KEY}, a fossil) or cull it ({CULL_KEY});
            a culled seed's site stays closed for a while
At the end whatever is no fossil goes, and what is left meets images nobody has
seen: that accuracy, less a small rent for added parameters, is your score. From
step 10 on the learning rate falls: late seeds learn little. Every seed has a
hidden quality: two of one blueprint differ. Nothing can be undone."""


@dataclass(frozen=True)
class Situation:
    """What the screen shows of one host.

    Attributes:
        step: Steps taken.
        accuracies: Validation accuracy after every step so far, the untrained host first, fractions.
        stages, blueprints, ages, alphas: Of every site; blueprint -1 for none.
        contribution: Accuracy (fraction) that the live seed adds, or None without one.
        legal: The legal actions.
    """

    step: int
    accuracies: Sequence[float]
    stages: Sequence[int]
    blueprints: Sequence[int]
    ages: Sequence[int]
    alphas: Sequence[float]
    contribution: float | None
    legal: Sequence[Action]

    @classmethod
    def read(cls, readings: Readings, host: int, legal: Sequence[Action], accuracies: Sequence[float]) -> Situation:
        """Return the situation of one host of `readings`."""
        shown = bool(readings.has_contribution[host])
        return cls(
            step=int(readings.step[host]),
            accuracies=tuple(accuracies),
            stages=readings.stage[host].tolist(),
            blueprints=readings.blueprint[host].tolist(),
            ages=readings.age[host].tolist(),
            alphas=readings.alpha[host].tolist(),
            contribution=float(readings.contribution[host]) if shown else None,
            legal=tuple(legal),
        )


def key_table(config: GrowthConfig) -> dict[str, tuple[int, int]]:
    """Return key -> (site, blueprint) of every planting.

    Raises:
        ConfigError: there are more plantings than keys.
    """
    places = [(site, kind) for kind in range(len(config.blueprints)) for site in range(len(config.sites))]
    if len(places) > len(PLANTING_KEYS):
        raise ConfigError(f"at most {len(PLANTING_KEYS)} plantings have a key: {len(places)} sites x blueprints")
    return dict(zip(PLANTING_KEYS, places))


def moves(situation: Situation, config: GrowthConfig) -> dict[str, Action]:
    """Return key -> legal action."""
    found: dict[str, Action] = {}
    planting = {place: key for key, place in key_table(config).items()}
    letters = {Op.WAIT: WAIT_KEY, Op.FOSSILIZE: FOSSILIZE_KEY, Op.CULL: CULL_KEY}
    for action in situation.legal:
        op, site, kind = action
        key = planting[site, kind] if op == Op.GERMINATE else letters[Op(op)]
        found[key] = action
    return found


def screen(situation: Situation, config: GrowthConfig, note: str = "") -> str:
    """Return the whole screen, at most 24 lines of at most 80 columns, the prompt's line left free."""
    legal = moves(situation, config)
    now, best = situation.accuracies[-1], max(situation.accuracies)
    head = f"step {situation.step} of {config.episode_steps}   accuracy {_percent(now)}   best {_percent(best)}"
    gained = 100 * (now - situation.accuracies[0])
    lines = [f"{head}   gained {gained:+.1f} points", *_curve(situation.accuracies, config.episode_steps)]
    lines += [_site(situation, site, config) for site in range(len(config.sites))]
    lines += ["", *_plantings(legal, config)]
    lines += ["", note or _moves_line(legal)]
    return "\n".join(line[:WIDTH].rstrip() for line in lines)


def _percent(accuracy: float) -> str:
    return f"{100 * accuracy:.1f}%"


def _curve(accuracies: Sequence[float], steps: int) -> list[str]:
    """Return the accuracy so far as columns of blocks, CURVE_LINES high, with an axis in percent."""
    top = max(0.1, *accuracies)
    wide = max(1, min(3, (WIDTH - 6) // (steps + 1)))
    rows = []
    for row in range(CURVE_LINES, 0, -1):
        low = (row - 1) / CURVE_LINES
        cells = [min(8, max(0, round((value / top - low) * CURVE_LINES * 8))) for value in accuracies]
        label = f"{100 * top * row / CURVE_LINES:3.0f}%|"
        rows.append(label + "".join(" ▁▂▃▄▅▆▇█"[cell] * wide for cell in cells))
    return rows


def _site(situation: Situation, site: int, config: GrowthConfig) -> str:
    stage, kind, alpha = Stage(situation.stages[site]), situation.blueprints[site], situation.alphas[site]
    if kind < 0:
        closed = f"closed, opens in {config.lifecycle.embargo_steps} or less" if stage == Stage.CULLED else "empty"
        return f"site {site}  {closed}"
    told = {
        Stage.TRAINING: "planted",
        Stage.BLENDING: "blending",
        Stage.HOLDING: "holding",
        Stage.FOSSILIZED: "FOSSIL",
    }
    share = 1.0 if stage == Stage.FOSSILIZED else alpha
    bar = "█" * round(BAR * share) + "░" * (BAR - round(BAR * share))
    parts = f"site {site}  {config.blueprints[kind]:<12}{bar} {told[stage]:<9}"
    if stage == Stage.FOSSILIZED:
        return f"{parts}kept for good"
    worth = "" if situation.contribution is None else f"  adds {100 * situation.contribution:+.1f} points"
    return f"{parts}age {situation.ages[site]}{worth}{' if it were in' if stage == Stage.TRAINING else ''}"


def _plantings(legal: Mapping[str, Action], config: GrowthConfig) -> list[str]:
    sites = range(len(config.sites))
    lines = ["plant at site  " + "".join(f"{site:<3}" for site in sites)]
    keys_of = {place: key for key, place in key_table(config).items()}
    for kind, name in enumerate(config.blueprints):
        cells = "".join(f"{keys_of[site, kind] if keys_of[site, kind] in legal else '.':<3}" for site in sites)
        lines.append(f"  {name:<13}{cells} {ABOUT.get(name, '')}")
    return lines


def _moves_line(legal: Mapping[str, Action]) -> str:
    words = [(WAIT_KEY, "wait (or Enter)"), (FOSSILIZE_KEY, "fossilize: keep it for good"), (CULL_KEY, "cull it")]
    shown = [f"{key} {text}" for key, text in words if key in legal]
    return "   ".join([*shown, f"{HELP_KEY} help", f"{QUIT_KEY} leave"])
