"""The page of a world's demand: a template filled from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from string import Template

from tamiyo_trl.evaluation.statistics import Estimate
from tamiyo_trl.studies.demand.measure import Sizes
from tamiyo_trl.studies.demand.plans import PlanTable
from tamiyo_trl.studies.demand.summary import Demand

TEMPLATE = Template(
    """# Demand on memory: `$world`, observation `$observation`

**$regret points** ($verdict): what a script that acts on readings of the episode so far reaches over the same script
acting on readings of one observation, on the same $hosts held-out hosts (95% interval). Knowing both hidden facts is
worth $informed points more than the better of what can be read.

![scripts and readings](demand.png)

## Scripts on the same hosts

| script | final test accuracy % | planted | kept | culled |
|---|---|---|---|---|
$scripts

The best fixed schedule of $plans plans is `$best`. The informed culler knows whether the live seed is good, the
planter the deficit. The last two know neither, and act on what a model reads from `$observation`. All follow the plan
worth most by their beliefs, by a table of plans measured on tuning hosts.

## Students of the informed script

$students

## How well the facts are read

On logged episodes, by models that did not see them ($folds-fold, episodes held out); the better one of logistic
regression and gradient boosting for each fact and view. A good seed has a dead share below $bad.

| fact | view | model | share read right | area under the curve | log loss |
|---|---|---|---|---|---|
$readings

[readability.csv](readability.csv) has the same step by step (deficit) and by the seed's age; [scripts.csv](scripts.csv)
every episode of every script; [demand.csv](demand.csv) the accuracies and differences of this page.

Made by `$command`; $versions; root seeds $seeds (plans, log, readers' first step, held-out
hosts, lessons). No evaluation seed
was used, and no controller was trained.
"""
)


def verdict(found: Demand) -> str:
    """Say whether the regret's interval excludes zero."""
    return "the interval excludes zero" if found.regret.excludes_zero else "the interval holds zero"


TAUGHT = Template(
    """Taught, without any reward, to do what the script that knows both facts would do in their place; examined on the
same hosts. **With a memory (lstm) over without (mlp): $gap points.**

| student | final test accuracy % | planted | kept | culled |
|---|---|---|---|---|
$rows"""
)


def _students(found: Demand) -> str:
    if found.gap is None:
        return "None were taught."
    rows = [_row(found, name, value) for name, value in found.students.items()]
    return TAUGHT.substitute(gap=found.gap.text(sign=True), rows="\n".join(rows))


def _row(found: Demand, name: str, value: Estimate) -> str:
    return f"| {name} | {value.text()} | " + " | ".join(f"{count:.1f}" for count in found.work[name]) + " |"


def make_page(
    found: Demand,
    rows: Sequence[dict[str, object]],
    table: PlanTable,
    sizes: Sizes,
    told: dict[str, str],
) -> str:
    """Return the page; `told` has world, observation, command, versions, folds and bad."""
    scripts = [_row(found, name, value) for name, value in found.accuracy.items()]
    readings = [
        f"| {row['fact']} | {row['view']} | {row['model']} | {row['accuracy']} | {row['auc']} | {row['log_loss']} |"
        for row in rows
        if row["at"] == -1
    ]
    return TEMPLATE.substitute(
        told,
        regret=found.regret.text(sign=True),
        verdict=verdict(found),
        informed=found.informed.text(sign=True),
        hosts=str(sizes.hosts),
        scripts="\n".join(scripts),
        readings="\n".join(readings),
        students=_students(found),
        plans=str(len(table.names)),
        best=table.names[table.best],
        seeds=", ".join(str(sizes.seed + offset) for offset in range(5)),
    )
