"""The tables of a study of trained controllers, in Markdown: the spec's four success metrics and what explains them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tamiyo_trl.evaluation.statistics import Estimate, comparison, estimate
from tamiyo_trl.studies.measures.behaviour import adaptation, behaviour
from tamiyo_trl.studies.measures.learning import better_final
from tamiyo_trl.studies.measures.precision import Precision, imposed_score, precision
from tamiyo_trl.studies.results import Finished, Study

OBSERVATIONS = ("minimal", "summary")
MARGIN = 0.01  # of final test accuracy: beyond the noise of two trainings that differ in a seed alone


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def accuracy_table(study: Study) -> str:
    """Return metric 1: final accuracy, gain over never-grow and share of the oracle's gain, by arm."""
    never, oracle = study.accuracy("never-grow"), study.accuracy("oracle")
    rows = []
    for arm, runs in study.arms.items():
        gains = [run.accuracy - never for run in runs]
        added = np.mean([episode.added_parameters for run in runs for episode in run.held_out])
        rows.append(
            [
                arm,
                estimate([run.accuracy for run in runs]).text(),
                estimate(gains).text(sign=True),
                estimate([gain / (oracle - never) for gain in gains]).text(digits=0) if oracle > never else "",
                estimate([run.mode_accuracy for run in runs]).text(),
                f"{added:,.0f}",
                str(len(runs)),
            ]
        )
    for name in ("oracle", "never-grow", "random-legal"):
        gain, part = study.accuracy(name) - never, ""
        if oracle > never:
            part = f"{100 * gain / (oracle - never):.0f}"
        added = np.mean([episode.added_parameters for episode in study.reference(name)])
        rows.append([name, f"{100 * study.accuracy(name):.1f}", f"{100 * gain:+.1f}", part, "", f"{added:,.0f}", ""])
    header = ("arm", "final test accuracy %", "gain over never-grow", "% of the oracle's gain", "by its mode %")
    return table((*header, "added parameters", "training seeds"), rows)


def comparisons(study: Study) -> list[tuple[str, str, str]]:
    """Return the pairs of arms that are compared, as (what, first, second)."""
    wanted = [(f"lstm - mlp on `{seen}`", f"lstm-{seen}", f"mlp-{seen}") for seen in OBSERVATIONS]
    wanted += [
        ("lstm on `minimal` - mlp on `summary`", "lstm-minimal", "mlp-summary"),
        ("mlp: `summary` - `minimal`", "mlp-summary", "mlp-minimal"),
    ]
    return [item for item in wanted if study.pairs(*item[1:])]


def difference_table(study: Study) -> str:
    """Return the paired differences of metrics 1 and 2 over training seeds."""
    rows = []
    for what, first, second in comparisons(study):
        half, most = thresholds(study, first, second)
        budget = float(study.arms[first][0].curve.episodes[-1])
        cells = [
            comparison(*study.values(first, second, lambda run: run.accuracy)).text(),
            comparison(*study.values(first, second, lambda run: run.curve.final)).text(),
            comparison(*study.values(first, second, lambda run: run.curve.area)).text(),
        ]
        for goal in (half, most):
            values = study.values(first, second, episodes_until(goal, budget))
            cells.append(comparison(*values).text(1.0, 0))
        rows.append([what, *cells])
    header = ("comparison", "final accuracy, points", "late training gain, points", "area under the curve, points")
    return table((*header, "episodes to 50%", "episodes to 90%"), rows)


def deficit_table(study: Study, deficits: Sequence[str]) -> str:
    """Return the paired difference of final accuracy over training seeds under each hidden deficit."""
    wanted = comparisons(study)
    rows = []
    for number, deficit in enumerate(deficits):
        if any(episode.deficit == number for episode in study.reference("never-grow")):
            values = [study.values(first, second, _accuracy_under(number)) for _, first, second in wanted]
            rows.append([deficit, *(comparison(*pair).text() for pair in values)])
    return table(("deficit", *(what for what, _, _ in wanted)), rows)


def _accuracy_under(deficit: int) -> Callable[[Finished], float]:
    return lambda run: float(
        np.mean([episode.final_accuracy for episode in run.held_out if episode.deficit == deficit])
    )


def thresholds(study: Study, first: str, second: str) -> tuple[float, float]:
    """Return 50% and 90% of the final gain of the better of two arms."""
    goal = better_final({arm: [run.curve for run in study.arms[arm]] for arm in (first, second)})
    return 0.5 * goal, 0.9 * goal


def episodes_until(gain: float, budget: float) -> Callable[[Finished], float]:
    """Return the measure "training episodes until this gain"; a run that never reaches it counts its whole budget."""
    return lambda run: min(run.curve.episodes_to(gain), budget)


def speed_table(study: Study) -> str:
    """Return metric 2: episodes to half and most of the better arm's final gain, by arm."""
    rows = []
    for seen in OBSERVATIONS:
        arms = [f"{memory}-{seen}" for memory in ("mlp", "lstm")]
        if not all(arm in study.arms for arm in arms):
            continue
        goals = thresholds(study, *arms)
        for arm in arms:
            curves = [run.curve for run in study.arms[arm]]
            cells = [estimate([curve.area for curve in curves]).text(sign=True)]
            for goal in goals:
                reached = [curve.episodes_to(goal) for curve in curves]
                known = [value for value in reached if np.isfinite(value)]
                mean = f"{np.mean(known):,.0f}" if known else "never"
                cells.append(f"{mean} ({len(known)} of {len(curves)} runs)")
            rows.append([arm, *cells])
    header = ("arm", "mean gain over the training, points", "episodes to 50% of the better arm's final gain")
    return table((*header, "episodes to 90%"), rows)


def _share(value: Estimate | None) -> str:
    return "none" if value is None else f"{value.text(digits=0)} (n={value.n})"


def precision_table(study: Study) -> str:
    """Return metric 3: the controllers' own decisions against ground truth."""
    groups = {arm: [run.decisions for run in runs] for arm, runs in study.arms.items()}
    groups["random-legal"] = [study.random_decisions]
    rows = [
        [name, *_precision_cells(precision(decisions), precision(decisions, MARGIN))]
        for name, decisions in groups.items()
    ]
    header = ("controller", "culls", "cull precision %", f"by more than {100 * MARGIN:.0f} point", "recall %")
    return table((*header, "fossilize precision %", "harmful among decided %", "worth of culled / kept, points"), rows)


def _precision_cells(found: Precision, clear: Precision) -> list[str]:
    culled, kept = (f"{100 * value:+.1f}" for value in (found.culled_worth, found.kept_worth))
    return [
        str(found.culls),
        _share(found.cull_precision),
        _share(clear.cull_precision),
        _share(found.recall),
        _share(found.fossil_precision),
        _share(found.harmful),
        f"{culled} / {kept}".replace("+nan", "none"),
    ]


def imposed_table(study: Study) -> str:
    """Return what the arms do about imposed seeds, the same for all of them."""
    rows = []
    for arm, runs in study.arms.items():
        found = imposed_score([run.judged for run in runs])
        clear = imposed_score([run.judged for run in runs], MARGIN)
        rows.append(
            [
                arm,
                f"{100 * found.harmful:.0f}",
                f"{100 * found.culled:.0f}",
                _share(found.cull_precision),
                _share(clear.cull_precision),
                _share(found.recall),
                _share(found.fossil_precision),
            ]
        )
    header = ("arm", "harmful seeds %", "culled %", "cull precision %", f"by more than {100 * MARGIN:.0f} point")
    return table((*header, "recall %", "fossilize precision %"), rows)


def ablation_table(study: Study) -> str:
    """Return metric 4: change of final accuracy when the hidden state is disturbed, over training seeds, in points."""
    arms = [arm for arm, runs in study.arms.items() if runs[0].ablations]
    if not arms:
        return "No arm with a hidden state is finished yet."
    names = list(study.arms[arms[0]][0].ablations)
    rows = []
    for name in names:
        cells = []
        for arm in arms:
            changes = [run.ablations[name] for run in study.arms[arm]]
            cells.append(comparison(changes, [0.0] * len(changes)).text())
        rows.append([name, *cells])
    return table(("hidden state", *(f"{arm}, points" for arm in arms)), rows)


def behaviour_table(study: Study, blueprints: Sequence[str], deficits: Sequence[str]) -> str:
    """Return what the arms do under each deficit."""
    rows = []
    for arm, runs in study.arms.items():
        for number, deficit in enumerate(deficits):
            episodes = [episode for run in runs for episode in run.held_out if episode.deficit == number]
            if not episodes:
                continue
            found = behaviour(episodes)
            first = ", ".join(f"{blueprints[k]}@{s} {100 * part:.0f}%" for (k, s), part in found.first_choices)
            order = ""
            if found.orders:
                choices, part = found.orders[0]
                order = " > ".join(f"{blueprints[k]}@{s}" for k, s in choices) or "nothing"
                order += f" ({100 * part:.0f}%)"
            counts = f"{found.planted:.1f} / {found.fossilized:.1f} / {found.culled:.1f}"
            rows.append([arm, deficit, first, order, _number(found.first_step), counts])
    header = ("arm", "deficit", "first choices", "commonest order", "first planting at step")
    return table((*header, "planted / kept / culled"), rows)


def repeat_table(study: Study) -> str:
    """Return whether the arms repeat what failed, the age of seeds when culled, how far choices fit the deficit."""
    rows = []
    for arm, runs in study.arms.items():
        for name, every in (("sampled", [run.held_out for run in runs]), ("mode", [run.by_mode for run in runs])):
            found = behaviour([episode for episodes in every for episode in episodes])
            bits = estimate([adaptation(episodes) for episodes in every])
            rows.append(
                [
                    f"{arm}, {name}",
                    bits.text(1.0, 2),
                    _number(found.cull_age),
                    str(found.replants),
                    _per_cent(found.repeats),
                    _per_cent(found.repeats_blueprint),
                ]
            )
    header = (
        "controller",
        "first choice tells of the deficit, bits above chance",
        "age at cull",
        "germinations after a cull",
    )
    return table((*header, "of these the same choice %", "the same blueprint %"), rows)


def probe_table(study: Study, steps: Sequence[int] = (0, 2, 4, 6, 8, 12, 16, 24)) -> str:
    """Return how well a linear probe reads the deficit, in per cent right, over training seeds."""
    rows = []
    for arm, runs in study.arms.items():
        able = [run for run in runs if "core" in run.probe]
        if not able:
            continue
        for name, what in (("core", "memory's output"), ("observation", "observation")):
            cells = [
                estimate([run.probe[name][step] for run in able]).text(digits=0)
                for step in steps
                if step < _length(able)
            ]
            rows.append([f"{arm}: {what}", *cells])
        shown = [f"step {step}" for step in steps if step < _length(able)]
    if not rows:
        return "Too few held-out hosts for a probe."
    return table(("read from", *shown), rows)


def _length(runs: Sequence[Finished]) -> int:
    return min(len(run.probe["steps"]) for run in runs)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"


def _per_cent(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.0f}"
