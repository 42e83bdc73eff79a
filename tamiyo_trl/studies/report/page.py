"""The report of a study of trained controllers: verdict first, then the tables and pictures, all from its files."""

from __future__ import annotations

import numpy as np

from tamiyo_trl.envs.growth.family import make_family
from tamiyo_trl.studies.report import pictures as plots
from tamiyo_trl.studies.report import tables as tables
from tamiyo_trl.studies.report.html import self_contained
from tamiyo_trl.studies.report.verdicts import verdict_table, verdicts
from tamiyo_trl.studies.results import Study, check_paired

PICTURES = ("learning.png", "differences.png", "precision.png", "ablation.png", "probe.png", "timelines.png")


def write_report(study: Study, command: str, tried: str = "") -> str:
    """Write report.md, its pictures and report.html into the study's folder; return the Markdown.

    `tried` is the table of learner settings that were tried on other seeds, if there is one.

    Raises:
        ConfigError: a run was examined on other hosts than the rest.
    """
    check_paired(study)
    folder = study.folder
    plots.learning_curves(study, folder / "learning.png")
    plots.paired_differences(study, folder / "differences.png")
    plots.precision_bars(study, folder / "precision.png")
    plots.ablation_plot(study, folder / "ablation.png")
    plots.probe_plot(study, folder / "probe.png")
    has_timelines = plots.timelines(study, folder / "timelines.png")
    page = _page(study, command, tried, has_timelines)
    (folder / "report.md").write_text(page)
    (folder / "report.html").write_text(self_contained(page, folder))
    return page


def _page(study: Study, command: str, tried: str, has_timelines: bool) -> str:
    config = study.config
    deficits = [deficit.name for deficit in make_family(config.family, config.image_size, config.task).deficits]
    counts = ", ".join(f"{arm} {len(runs)}" for arm, runs in study.arms.items())
    hosts = len(study.reference("never-grow"))
    sections = [
        "# Does memory make a better Tamiyo?",
        "\n".join(verdicts(study)) or "No pair of runs is finished yet.",
        verdict_table(study),
        f"Training runs: {counts}. Every run was examined on the same {hosts} held-out hosts, seen by no training. A "
        "value over training seeds is a mean of runs with a 95% percentile bootstrap interval of the runs (five seeds "
        "make such an interval too narrow rather than too wide); d is the mean paired difference over its standard "
        "deviation; `k of n` counts the seeds in which the first is larger. Better or worse is said where the interval "
        "excludes zero and a paired t-test agrees (p < 0.05), perhaps where it does not; of so many comparisons some "
        "come out so by chance.",
        "## 1 Final accuracy",
        tables.accuracy_table(study),
        "Accuracies are those of the committed network on test images that neither training nor reward saw. "
        "Controllers act by sampled actions, as they were trained to, from a seeded stream; the mode (the single "
        "most probable action at every step) of a stochastic policy is another policy and stands beside it. The "
        "oracle knows the hidden deficit and makes the best constant choice for it by the map of effects: one seed, "
        "so more than its gain is possible.",
        "![Paired differences](differences.png)",
        tables.difference_table(study),
        "Where they differ: final accuracy under each hidden deficit, points.",
        tables.deficit_table(study, deficits),
        "## 2 Learning speed",
        "![Learning curves](learning.png)",
        tables.speed_table(study),
        "Curves are what each run earned on its own training hosts (the same for all arms of a seed) by sampled "
        "actions, less never-grow's mean under the same deficits; a run that never reaches a goal counts its whole "
        "budget in the differences above.",
        "## 3 Cull precision",
        "Ground truth: at each decision the host is forked; one branch removes the seed, the other keeps and "
        "fossilizes it, neither grows again, and final test accuracies decide. First the controllers' own seeds:",
        tables.precision_table(study),
        "A controller that plants well has little to cull. So every controller also got the same imposed seeds (a "
        "drawn blueprint at a drawn site, planted at step 3) and was free from then on:",
        tables.imposed_table(study),
        "![Cull precision on imposed seeds](precision.png)",
        "## 4 Hidden-state ablation",
        tables.ablation_table(study),
        "Each trained controller against itself untouched, on the same hosts.",
        "![Ablation](ablation.png)",
        "## 5 Why",
        tables.behaviour_table(study, config.blueprints, deficits),
        tables.repeat_table(study),
        "A linear probe reads the hidden deficit (chance: "
        f"{_chance(study)}) from the memory's output and from the observation, episodes held out:",
        tables.probe_table(study),
        "![Probe and entropy](probe.png)",
    ]
    if has_timelines:
        sections += ["The same host under both arms (drawn at random):", "![Timelines](timelines.png)"]
    if tried:
        sections += [
            "## 6 What was tried to make each arm better",
            "Short runs of both memories, equally many, on seeds that the study does not use; each setting is one "
            "change of `start`. Numbers are final test accuracies (%) late in these trainings, in brackets seed by "
            "seed. All arms of the study share the same changes; how they were chosen, and what a later seed says of "
            "that: docs/evidence.md.",
            tried,
        ]
    sections += ["## How it was made", _facts(study, command)]
    return "\n\n".join(sections) + "\n"


def _chance(study: Study) -> str:
    found = [run.probe["chance"] for runs in study.arms.values() for run in runs]
    return f"{100 * float(np.mean(found)):.0f}%" if found else "unknown"


def _facts(study: Study, command: str) -> str:
    lines = [f"- command: `{command}`"]
    for arm, runs in study.arms.items():
        facts = [run.facts for run in runs]
        collect, update = (sum(fact[name] for fact in facts) / 60 for name in ("collect_seconds", "update_seconds"))
        lines.append(
            f"- {arm}: seeds {', '.join(str(run.seed) for run in runs)}; {facts[0]['episodes']:,} episodes each; "
            f"{facts[0]['parameters']:,} weights; {collect:.0f} minutes collecting and {update:.1f} updating in all"
        )
    known: dict[str, str] = next((runs[0].facts["versions"] for runs in study.arms.values()), {})
    lines.append("- versions: " + ", ".join(f"{name} {number}" for name, number in known.items()))
    lines.append("- every run's settings: `runs.json`; learning curves, episodes, decisions in the tables beside it")
    return "\n".join(lines)
