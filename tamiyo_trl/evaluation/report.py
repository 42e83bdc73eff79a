"""The report of a run: one Markdown page a reader can judge the claims by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tamiyo_trl.evaluation.comparison import Row


@dataclass(frozen=True)
class RunFacts:
    """What a reader needs to rerun a report.

    Attributes:
        command: The command that made the run.
        versions: Package versions, e.g. {"torch": "2.13.0"}.
        device: Where it ran.
        train_episodes, train_minutes: Length of the training.
        eval_seed: Root seed of the held-out hosts, never trained on.
        deficits: Name of each hidden deficit with the number of held-out hosts that have it.
    """

    command: str
    versions: dict[str, str]
    device: str
    train_episodes: int
    train_minutes: float
    eval_seed: int
    deficits: dict[str, int]


def comparison_table(rows: Sequence[Row]) -> str:
    """Return the controllers as a Markdown table, accuracies in per cent with 95% intervals."""
    lines = [
        "| controller | final test accuracy % | gain over never-grow | over random-legal | added parameters "
        "| germinated | fossilized | culled |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.name} | {row.final_accuracy.text()} | {row.gain.text(sign=True)} "
            f"| {row.over_random.text(sign=True)} | {row.added_parameters:,.0f} | {row.germinated:.1f} "
            f"| {row.fossilized:.1f} | {row.culled:.1f} |"
        )
    return "\n".join(lines)


def verdict(row: Row) -> str:
    """Return one plain sentence on whether this controller beats random-legal, whatever the answer is."""
    difference = f"{row.over_random.text(sign=True)} accuracy points over random-legal (paired, n={row.over_random.n})"
    if row.over_random.low > 0:
        return f"The {row.name} controller beats random-legal: {difference}; the interval excludes zero."
    if row.over_random.high < 0:
        return f"The {row.name} controller is worse than random-legal: {difference}; the interval excludes zero."
    return (
        f"It is not shown that the {row.name} controller beats random-legal: {difference}; the interval includes zero. "
        "A longer run (more episodes) or more held-out episodes would be needed to decide."
    )


def run_report(name: str, rows: Sequence[Row], learned: str, facts: RunFacts, pictures: dict[str, str]) -> str:
    """Return the report's Markdown; `learned` names the trained controller, `pictures` maps titles to file names."""
    trained = next(row for row in rows if row.name == learned)
    hosts = ", ".join(f"{count} {deficit}" for deficit, count in facts.deficits.items())
    versions = ", ".join(f"{package} {version}" for package, version in facts.versions.items())
    sections = [
        f"# Run `{name}`",
        verdict(trained),
        f"## Controllers on {trained.final_accuracy.n} held-out hosts",
        comparison_table(rows),
        "Every controller met the same hosts: same initial weights, images, data order and hidden seed qualities (root "
        f"seed {facts.eval_seed}, never trained on). The learned controller acts by samples, as in training; untrained "
        "is the same controller before its first update. Final accuracy is the committed network's (fossilized seeds "
        "only) on test digits that neither training nor reward ever saw. Square brackets: 95% percentile bootstrap "
        "intervals; differences are paired by host. Counts are means per episode.",
        f"Hidden deficits met: {hosts}.",
    ]
    for title, picture in pictures.items():
        sections += [f"## {title}", f"![{title}]({picture})"]
    sections += [
        "## How it was made",
        f"- command: `{facts.command}`\n- training: {facts.train_episodes:,} episodes in {facts.train_minutes:.1f} "
        f"minutes\n- device: {facts.device}\n- versions: {versions}\n- per-update numbers: `metrics.csv`; settings: "
        "`config.json`; every held-out episode: `episodes.csv`",
    ]
    return "\n\n".join(sections) + "\n"
