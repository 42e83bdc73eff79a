"""Tabulate and draw what POPGym runs reached.

    python recipes/report_popgym.py docs/results/popgym

Reads every <folder>/<label>/<env>/seed_<n>.json, written by recipes/train_popgym.py and benchmarks/popgym_sb3.py, and
the numbers of others in <folder>/published.json if there is one; writes <folder>/results.md and a picture of learning
curves for every length of run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tamiyo_trl import cli
from tamiyo_trl.errors import RunFolderError

Record = Mapping[str, Any]
Runs = dict[tuple[str, str], list[Record]]  # (environment, label): one record per seed
WINDOW = 5  # updates over which curves are averaged
COLUMNS = 3  # panels side by side
CONTESTANTS = {"memory", "policy"}  # settings that make another contestant; labels that differ in others are variants


@dataclass(frozen=True)
class Args:
    """Tabulate and draw POPGym runs.

    Attributes:
        folder: Folder of all results.
    """

    folder: tyro.conf.Positional[Path] = Path("docs/results/popgym")


def read(folder: Path) -> dict[int, Runs]:
    """Return all runs under `folder` by their frames, the longest first."""
    found: dict[int, Runs] = {}
    for path in sorted(folder.glob("*/*/seed_*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(record["frames"], {}).setdefault((record["env"], path.parts[-3]), []).append(record)
    return dict(sorted(found.items(), reverse=True))


def labels_of(runs: Runs) -> list[str]:
    """Return the labels, those run on most environments first."""
    labels = [label for _, label in runs]
    return sorted(set(labels), key=lambda label: (-labels.count(label), label))


def report(groups: Mapping[int, Runs], published: Mapping[str, Any]) -> str:
    """Return the Markdown page of all runs."""
    base = base_settings(groups)
    widest = max(groups, key=lambda frames: len({name for name, _ in groups[frames]}))
    parts = ["# POPGym"]
    for frames, runs in groups.items():
        others = published if frames == widest else {}
        variants = [label for label in labels_of(runs) if is_variant(settings_of(runs, label), base)]
        contestants = [label for label in labels_of(runs) if label not in variants]
        parts.append(f"## Runs of {frames:,} frames")
        parts.append(returns_table(runs, contestants, others.get("columns", {})))
        parts += [others["source"]] if others else []
        if variants:
            parts.append("Variants of the settings:")
            parts.append(variants_table(runs, [contestants[0], *variants] if contestants else variants))
        parts.append(f"![learning curves]({picture_name(frames)})")
    parts.append("## Settings and cost")
    parts.append(settings_table(groups))
    parts.append(
        "Returns: mean over the episodes that ended in the last tenth of the frames, actions sampled; mean over seeds "
        "(lowest to highest; n seeds). CPU-seconds: mean of a whole run, one thread, on a machine shared with other "
        "work. Every run's settings, versions and learning curve are in its JSON file. Pictures: "
        f"mean over {WINDOW} updates and over seeds, shaded from the lowest to the highest seed."
    )
    return "\n\n".join(parts) + "\n"


def settings_of(runs: Runs, label: str) -> dict[str, Any]:
    """Return the settings of `label`, flat."""
    return next(_flat(found[0]["settings"]) for (_, of), found in runs.items() if of == label)


def base_settings(groups: Mapping[int, Runs]) -> dict[str, Any]:
    """Return the settings all others are compared with: the first label's of the longest runs."""
    runs = next(iter(groups.values()))
    return settings_of(runs, labels_of(runs)[0])


def differences(settings: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `settings` say otherwise than `base`, beside the number of frames."""
    return {key: value for key, value in settings.items() if key != "frames" and base.get(key) != value}


def is_variant(settings: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Return whether `settings` are those of `base` but for a few numbers, not of another contestant."""
    new = differences(settings, base)
    return bool(new) and not CONTESTANTS & set(new)


def returns_table(runs: Runs, labels: Sequence[str], others: Mapping[str, Mapping[str, float]]) -> str:
    """Return a Markdown table of returns: a line per environment, a column per label and per source of others."""
    lines = [["environment", *labels, *others]]
    for name in sorted({name for name, label in runs if label in labels}):
        told = [f"{column[name]:.3f}" if name in column else "" for column in others.values()]
        lines.append([name, *(_cell(runs.get((name, label), ())) for label in labels), *told])
    return _markdown(lines)


def variants_table(runs: Runs, labels: Sequence[str]) -> str:
    """Return a Markdown table of returns: a line per label, a column per environment of any but the first label."""
    names = sorted({name for name, label in runs if label in labels[1:]})
    lines = [["label", *names]]
    lines += [[label, *(_cell(runs.get((name, label), ())) for name in names)] for label in labels]
    return _markdown(lines)


def settings_table(groups: Mapping[int, Runs]) -> str:
    """Return a Markdown table of what each label is and costs, compared with the first label."""
    base = base_settings(groups)
    lines = [["label", "frames", "differs in", "parameters", "CPU-seconds per run"]]
    for frames, runs in groups.items():
        for label in labels_of(runs):
            records = [record for (_, of), found in runs.items() if of == label for record in found]
            new = differences(settings_of(runs, label), base)
            told = ", ".join(f"{key} = {value}" for key, value in new.items())
            sizes = sorted({record["parameters"] for record in records})
            lines.append(
                [
                    label,
                    f"{frames:,}",
                    told if len(lines) > 1 else "(what the others are compared with)",
                    f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}",
                    f"{np.mean([record['cpu_seconds'] for record in records]):.0f} (n = {len(records)})",
                ]
            )
    return _markdown(lines)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _cell(records: Sequence[Record]) -> str:
    if not records:
        return ""
    values = [record["return"] for record in records]
    spread = f"{min(values):.3f} to {max(values):.3f}; " if len(values) > 1 else ""
    return f"{sum(values) / len(values):.3f} ({spread}n = {len(values)})"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body))


def picture_name(frames: int) -> str:
    """Return the file name of the picture of runs of `frames` frames."""
    return f"curves_{frames}.png"


def draw(runs: Runs, path: Path) -> None:
    """Draw a panel per environment with a line per label."""
    names, labels = sorted({name for name, _ in runs}), labels_of(runs)
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.4 * columns, 3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axis in grid.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(grid.flat, names, strict=False):
        for number, label in enumerate(labels):
            if (name, label) in runs:
                _band(axis, runs[name, label], label, f"C{number}")
        axis.set(title=name, xlabel="frames (thousands)", ylabel="episode return")
        axis.grid(alpha=0.3)
    lines = {line.get_label(): line for axis in grid.flat for line in axis.get_lines()}
    figure.legend([lines[label] for label in labels], labels, loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(path, dpi=110)


def _band(axis: Axes, records: Sequence[Record], label: str, colour: str) -> None:
    """Draw the mean curve of `records` and shade from the lowest to the highest."""
    records = [record for record in records if record["curve"]]
    if not records:
        return
    at = np.array(sorted({point[0] for record in records for point in record["curve"]}))
    curves = np.stack([smooth(record["curve"], at) for record in records])
    axis.plot(at / 1000, curves.mean(0), color=colour, label=label, lw=1.6)
    axis.fill_between(at / 1000, curves.min(0), curves.max(0), color=colour, alpha=0.2, lw=0)


def smooth(curve: Sequence[Sequence[float]], at: np.ndarray) -> np.ndarray:
    """Return the mean returns of `curve` [(frames, episodes, mean return)] at frames `at`.

    Each is the mean over the episodes of the last WINDOW points; between points it is interpolated.
    """
    frames, episodes, means = np.array(curve, float).T
    counts, totals = (np.cumsum(values) for values in (episodes, episodes * means))
    counts[WINDOW:], totals[WINDOW:] = counts[WINDOW:] - counts[:-WINDOW], totals[WINDOW:] - totals[:-WINDOW]
    return np.interp(at, frames, totals / counts)


def run(args: Args, argv: list[str]) -> None:
    """Write the page and the pictures."""
    folder = args.folder
    groups = read(folder)
    if not groups:
        raise RunFolderError(f"no runs in {folder}: <label>/<env>/seed_<n>.json are looked for")
    others = folder / "published.json"
    published = json.loads(others.read_text(encoding="utf-8")) if others.exists() else {}
    for frames, runs in groups.items():
        draw(runs, folder / picture_name(frames))
    (folder / "results.md").write_text(report(groups, published), encoding="utf-8")


main = partial(cli.main, Args, run, __doc__)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
