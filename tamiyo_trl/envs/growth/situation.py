"""One host's situation as text: what a controller sees of it, by name and unit, and what it may do next."""

from __future__ import annotations

from torch import Tensor

from tamiyo_trl import keys
from tamiyo_trl.envs.growth.actions import action_name, growth_actions
from tamiyo_trl.envs.growth.extras import EXTRAS
from tamiyo_trl.envs.growth.observations import OBSERVATIONS, Feature
from tamiyo_trl.envs.growth.privileged import privileged_features
from tamiyo_trl.envs.growth.readings import Readings
from tamiyo_trl.seeds import Stage

HEADER = ("name", "formula", "unit", "range", "source", "columns")


def legal_actions(mask: Tensor) -> list[tuple[int, int, int]]:
    """Return the legal action triples of one host's mask, bool [ops, S, K], in the order of `growth_actions`."""
    table = growth_actions(*mask.shape[1:])
    return [(op, site, kind) for op, site, kind in table.tolist() if mask[op, site, kind]]


def situation_text(
    features: tuple[Feature, ...],
    observation: Tensor,
    readings: Readings,
    host: int,
    mask: Tensor,
    kinds: tuple[str, ...],
) -> str:
    """Return the table of one host: its sites, its features, float32 [F], and its legal actions, numbered."""
    parts = [
        f"step {int(readings.step[host])}",
        _sites_text(readings, host, kinds),
        _features_text(features, observation, readings.stage.shape[1], kinds),
        _actions_text(mask, kinds),
    ]
    return "\n\n".join(parts)


def _sites_text(readings: Readings, host: int, kinds: tuple[str, ...]) -> str:
    lines = [f"{'site':<6}{'stage':<12}{'blueprint':<14}{'age':>4}{'alpha':>8}"]
    for site, stage in enumerate(readings.stage[host].tolist()):
        kind = int(readings.blueprint[host, site])
        name = kinds[kind] if kind >= 0 else "-"
        age, alpha = int(readings.age[host, site]), float(readings.alpha[host, site])
        lines.append(f"{site:<6}{Stage(stage).name:<12}{name:<14}{age:>4}{alpha:>8.2f}")
    return "\n".join(lines)


def _features_text(features: tuple[Feature, ...], observation: Tensor, n_sites: int, kinds: tuple[str, ...]) -> str:
    named = [(item.name + suffix, item.unit) for item in features for suffix in item.columns(n_sites, kinds)]
    cells = [
        f"{name:<32}{value:>8.3f}  {unit:<9}" for (name, unit), value in zip(named, observation.tolist(), strict=True)
    ]
    half = (len(cells) + 1) // 2
    right = [*cells[half:], ""]
    return "\n".join(f"{left}   {other}".rstrip() for left, other in zip(cells[:half], right, strict=False))


def _actions_text(mask: Tensor, kinds: tuple[str, ...]) -> str:
    legal = legal_actions(mask)
    return "\n".join(f"{number:>3}  {action_name(action, kinds)}" for number, action in enumerate(legal))


# The tables of the document; the privileged one for no family in particular.
TABLES = OBSERVATIONS | {"extras": EXTRAS, keys.PRIVILEGED: privileged_features(("one per deficit",))}


def observation_table(name: str) -> str:
    """Return the named observation set, `extras` or `privileged` as a Markdown table of what each feature is."""
    rows = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for item in TABLES[name]:
        bounds = f"{item.low:g} .. {item.high:g}"
        rows.append(f"| {item.name} | {item.formula} | {item.unit} | {bounds} | {item.source} | {_columns(item)} |")
    return "\n".join(rows)


def _columns(item: Feature) -> str:
    """Say what a feature has several columns for, told by how their number grows with sites and blueprints."""
    if item.columns(2, ("kind",) * 2) == [""]:
        return "one"
    counts = [len(item.columns(sites, ("kind",) * kinds)) for sites, kinds in ((1, 1), (2, 1), (1, 2), (2, 2))]
    if counts == [1, 2, 1, 2]:
        return "one per site"
    if counts == [1, 1, 2, 2]:
        return "one per blueprint"
    if counts == [1, 2, 2, 4]:
        return "one per site and blueprint"
    if counts == [len(Stage), 2 * len(Stage), len(Stage), 2 * len(Stage)]:
        return "one per site and stage"
    return ", ".join(suffix.strip() for suffix in item.columns(1, ("kind",)))
