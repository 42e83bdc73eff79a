"""What `benchmarks/fleet.py` says and draws."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import torch

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.fleet_cases import BATCH
from benchmarks.fleet_curves import Curves, describe_curves
from benchmarks.fleet_processes import Processes, describe_processes

MEASURED = ("engines", "seeds", "evaluation", "episodes")  # the parts that are tables of turns


@dataclass
class Table:
    """Seconds of every turn of contestants that took turns, and of a matrix product between them."""

    title: str
    hosts: int
    images: int  # trained or evaluated in one turn
    flops: int  # of one image
    seconds: dict[str, list[float]] = field(default_factory=dict)
    peak: float = 0.0  # FLOP/s of the matrix product, the best of all rounds

    def best(self, name: str) -> float:
        """Return the shortest turn."""
        return min(self.seconds[name])

    def ratio(self, name: str, base: str) -> float:
        """Return the median over rounds of a contestant's time over that of `base` in the same round."""
        return median(a / b for a, b in zip(self.seconds[name], self.seconds[base]))

    def share(self, name: str) -> float:
        """Return the best turn's FLOP/s as a share of the peak."""
        return self.images * self.flops / self.best(name) / self.peak


def unit_of(device: str) -> str:
    """Return the unit of time on a device."""
    return "CPU-second" if device == "cpu" else "second"


def report(kept: dict[str, Any], device: str) -> str:
    """Return the results as Markdown; kept: what each part that was measured found, and by which command."""
    unit = unit_of(device)
    tables = {part: [Table(**found) for found in kept.get(part, [])] for part in MEASURED}
    lines = ["# The fleet", "", f"One thread, batch {BATCH} per host: bests (speeds) and medians (ratios) over turns."]
    for table in tables["engines"]:
        names = list(table.seconds)
        lines += ["", f"## {table.title}", "", f"| | images per {unit} | share of matmul peak | times the NCHW loop |"]
        lines += ["|---|---|---|---|"]
        for name in names:
            speed, times = table.images / table.best(name), 1 / table.ratio(name, names[0])
            lines.append(f"| {name} | {speed:,.0f} | {table.share(name):.0%} | {times:.2f} |")
    for table in tables["seeds"] + tables["evaluation"]:
        base = next(iter(table.seconds))
        lines += ["", f"## {table.title}", "", f"| | images per {unit} | times '{base}' |", "|---|---|---|"]
        for name in table.seconds:
            speed = table.images / table.best(name)
            lines.append(f"| {name} | {speed:,.0f} | {table.ratio(name, base):.2f} |")
    for table in tables["episodes"]:
        head = f"| | {unit}s per episode, best | median |"
        lines += ["", f"## {table.title}: 25 steps, 256 images to evaluate", "", head, "|---|---|---|"]
        for name, seconds in table.seconds.items():
            lines.append(f"| {name} | {table.best(name) / table.images:.2f} | {median(seconds) / table.images:.2f} |")
    for found in kept.get("curves", []):
        lines += describe_curves(Curves(**found))
    for found in kept.get("processes", []):
        # JSON has the numbers of processes as text.
        lines += describe_processes(Processes(**found | {"seconds": {int(p): s for p, s in found["seconds"].items()}}))
    peaks = [table.peak for group in tables.values() for table in group]
    peak = f"; matmul peak {max(peaks) / 1e9:.0f} GFLOP/s" if peaks else ""
    commands = [f"`{command}`" for command in dict.fromkeys(kept["commands"].values())]
    return "\n".join([*lines, "", f"{', '.join(commands)}; {machine(device)}{peak}.", ""])


def machine(device: str) -> str:
    """Return the machine and the versions that took part."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return f"{name}, {platform.machine()}, torch {version('torch')}, python {platform.python_version()}"


def processor() -> str:
    """Return the processor's name and its widest vectors."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0]} ({torch.backends.cpu.get_cpu_capability()})" if names else platform.processor()


def plot(tables: list[Table], path: Path, unit: str) -> None:
    """Draw images per unit of time against the number of hosts, one panel per form of host."""
    forms = list(dict.fromkeys(table.title.rsplit(",", 1)[0] for table in tables))
    figure, panels = plt.subplots(1, len(forms), figsize=(5.2 * len(forms), 3.6), squeeze=False)
    for form, panel in zip(forms, panels[0]):
        own = [table for table in tables if table.title.startswith(form)]
        for name in own[0].seconds:
            speeds = [table.images / table.best(name) for table in own if name in table.seconds]
            style = "--" if "modules" in name else "-"
            panel.plot([table.hosts for table in own], speeds, style, marker="o", markersize=4, label=name)
        panel.set(xscale="log", title=form, xlabel="hosts", ylabel=f"images trained per {unit}", ylim=(0, None))
        panel.set_xticks([table.hosts for table in own], [str(table.hosts) for table in own])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
