"""All controllers in one table, on the same held-out hosts; the best fixed schedule is searched on other hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation.rollout import Episode, evaluate
from tamiyo_trl.evaluation.statistics import Estimate, estimate, paired
from tamiyo_trl.policies.baselines import FixedSchedule
from tamiyo_trl.studies.references import plan_of, watching


@dataclass(frozen=True)
class ControllerRow:
    """One controller's row. Accuracies are fractions, counts means per episode.

    Attributes:
        name: The controller.
        runs: Training seeds; 0 for controllers that do not learn.
        final_accuracy: Committed test accuracy, over hosts; of trained controllers each host's mean over runs.
        gain: Its paired difference to never-grow, over hosts.
        lead: Its paired difference to the best fixed schedule, over hosts.
        spread: Standard deviation of the runs' mean accuracies; NaN for fewer than two.
        added_parameters, germinated, fossilized, culled: Means per episode.
    """

    name: str
    runs: int
    final_accuracy: Estimate
    gain: Estimate
    lead: Estimate
    spread: float
    added_parameters: float
    germinated: float
    fossilized: float
    culled: float


def controller_row(
    name: str,
    runs: Sequence[Sequence[Episode]],
    never: Sequence[Episode],
    schedule: Sequence[Episode],
    learned: bool,
) -> ControllerRow:
    """Return the row of a controller; `runs` holds one list of episodes per training seed, all on the same hosts.

    Raises:
        ConfigError: a run, or the fixed schedule, met other hosts than never-grow.
    """
    hosts = [episode.seed for episode in never]
    if any([episode.seed for episode in episodes] != hosts for episodes in (*runs, schedule)):
        raise ConfigError(f"{name} met other hosts than never-grow")
    accuracy = np.array([[episode.final_accuracy for episode in episodes] for episodes in runs])
    every = [episode for episodes in runs for episode in episodes]
    by_host = accuracy.mean(0).tolist()
    return ControllerRow(
        name,
        len(runs) if learned else 0,
        estimate(by_host),
        paired(by_host, [episode.final_accuracy for episode in never]),
        paired(by_host, [episode.final_accuracy for episode in schedule]),
        float(accuracy.mean(1).std(ddof=1)) if len(runs) > 1 else float("nan"),
        *(
            float(np.mean([getattr(episode, what) for episode in every]))
            for what in ("added_parameters", "germinated", "fossilized", "culled")
        ),
    )


def controllers_table(rows: Sequence[ControllerRow], oracle_gain: float) -> str:
    """Return the controllers as a Markdown table, accuracies in per cent with 95% intervals over hosts."""
    lines = [
        "| controller | training seeds | final test accuracy % | gain over never-grow | % of the oracle's gain "
        "| over the fixed schedule | sd over seeds | added parameters | germinated | fossilized | culled |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = "" if np.isnan(row.spread) else f"{100 * row.spread:.1f}"
        part = f"{100 * row.gain.mean / oracle_gain:.0f}" if oracle_gain > 0 else ""
        lines.append(
            f"| {row.name} | {row.runs or ''} | {row.final_accuracy.text()} | {row.gain.text(sign=True)} | {part} "
            f"| {row.lead.text(sign=True)} | {spread} | {row.added_parameters:,.0f} "
            f"| {row.germinated:.1f} | {row.fossilized:.1f} | {row.culled:.1f} |"
        )
    return "\n".join(lines)


def schedule_verdict(rows: Sequence[ControllerRow]) -> str:
    """Return one sentence: which learned controllers are better or worse than the best fixed schedule."""
    learned = [row for row in rows if row.runs]
    better = [f"{row.name} ({row.lead.text(sign=True)})" for row in learned if row.lead.low > 0]
    worse = [f"{row.name} ({row.lead.text(sign=True)})" for row in learned if row.lead.high < 0]
    unsure = [f"{row.name} ({row.lead.text(sign=True)})" for row in learned if not row.lead.excludes_zero]
    said = [("better", better), ("worse", worse), ("not shown to differ", unsure)]
    parts = [f"{word}: {', '.join(names)}" for word, names in said if names]
    return "Against the best fixed schedule, points of final accuracy over hosts: " + "; ".join(parts) + "."


@dataclass(frozen=True)
class SearchHosts:
    """Hosts that schedules are searched on: `count` hosts of root seed `seed`, which nothing else meets."""

    count: int = 32
    seed: int = 3_000_003


def search_schedules(
    candidates: Sequence[str],
    starts: Sequence[int],
    config: GrowthConfig,
    hosts: SearchHosts,
    known: Mapping[str, float],
    keep: Callable[[dict[str, float]], None],
) -> dict[str, float]:
    """Return the mean final accuracy of every candidate from every starting step, by name ("wide@0 norm@2 from 3").

    What is `known` is not measured again; `keep` is given all that is known after each measurement.
    """
    found = dict(known)
    for candidate in candidates:
        for start in starts:
            name = f"{candidate} from {start}"
            if name in found:
                continue
            schedule = FixedSchedule(config, config.episode_steps, plan_of(candidate, config, start))
            episodes = evaluate(GrowthEnv(watching(config), hosts.count, hosts.seed), schedule, hosts.count)
            found[name] = round(float(np.mean([episode.final_accuracy for episode in episodes])), 6)
            keep(found)
    return found


def best_schedule(found: Mapping[str, float]) -> tuple[str, int]:
    """Return the choices and the starting step of the best schedule found."""
    choices, _, start = max(found, key=lambda name: found[name]).rpartition(" from ")
    return choices, int(start)
