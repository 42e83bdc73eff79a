"""Measure the fleet: images per second of each engine against loops of modules, seeds, evaluation, whole episodes.

    python benchmarks/fleet.py                          # about eight minutes of one core
    python benchmarks/fleet.py --device cuda            # the same on a GPU, with and without CUDA graphs
    python benchmarks/fleet.py --parts processes        # measure a part again; the rest of the results stays
    python benchmarks/fleet.py --quick --out /tmp/smoke # seconds; proves that it runs

One thread. Contestants of one table take turns, so that a busy machine slows all alike: read the ratios. On a CPU times
are CPU-seconds of this process, on a GPU seconds with the device synchronised. Writes <out>/fleet.json, fleet.md and
fleet.png.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run by its name

import torch  # noqa: E402 (after the path)
import tyro  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.markdown import Markdown  # noqa: E402
from rich.progress import Progress  # noqa: E402

from benchmarks import fleet_cases as cases  # noqa: E402
from benchmarks.fleet_cases import BATCH, Data, Turn  # noqa: E402
from benchmarks.fleet_curves import measure_curves  # noqa: E402
from benchmarks.fleet_processes import measure_batches, measure_steps  # noqa: E402
from benchmarks.fleet_report import Table, plot, report, unit_of  # noqa: E402
from tamiyo_trl.errors import ConfigError  # noqa: E402
from tamiyo_trl.hosts import HostConfig  # noqa: E402
from tamiyo_trl.seeds.blueprints import BLUEPRINTS  # noqa: E402

TINY, LARGE = "tiny: 8-16-32 at 16x16", "CIFAR-size: 32-64-128 at 32x32"
HOSTS = {TINY: HostConfig(), LARGE: HostConfig.spec()}
SMALL = HostConfig(image_size=8, in_channels=1, downsample=("stride", "pool", "none"))
SIZES = {"cpu": (1, 4, 16, 64), "cuda": (16, 64, 256)}
PARTS = ("engines", "seeds", "evaluation", "episodes", "curves", "processes")
BASE, BASE_LAST = "loop of modules, NCHW", "loop of modules, channels_last"


@dataclass(frozen=True)
class Args:
    """Measure fleets of hosts.

    Attributes:
        out: Folder of the results.
        device: "cpu" or "cuda".
        rounds: Turns of every contestant.
        sizes: Fleet sizes; none given: 1, 4, 16 and 64 on a CPU, 16, 64 and 256 on a GPU.
        images: Images that a tiny fleet trains on in one turn, at least. A CIFAR-size one takes a sixteenth, but at
            least two steps, in two turns.
        parts: Parts to measure, of engines, seeds, evaluation, episodes, curves and (on a CPU) processes; what the
            folder holds of the others stays. None given measures all.
        quick: One turn of the smallest fleets: whether everything runs.
    """

    out: Path = ROOT / "benchmarks" / "results"
    device: str = "cpu"
    rounds: int = 7
    sizes: tuple[int, ...] = ()
    images: int = 4096
    parts: tuple[str, ...] = ()
    quick: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.parts) - set(PARTS))
        if unknown:
            raise ConfigError(f"parts must be of {', '.join(PARTS)}; got {', '.join(unknown)}")


class Clock:
    """Times turns on a device."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.left, self.right = (torch.randn(1024, 1024, device=device) for _ in range(2))

    def time(self, turn: Turn) -> float:
        """Return the seconds of one turn."""
        if self.device == "cpu":
            start = time.process_time()
            turn()
            return time.process_time() - start
        torch.cuda.synchronize()
        start = time.perf_counter()
        turn()
        torch.cuda.synchronize()
        return time.perf_counter() - start

    def peak(self) -> float:
        """Return the FLOP/s of a product of two 1024x1024 matrices."""

        def turn() -> None:
            for _ in range(4):
                self.left @ self.right

        return 4 * 2 * 1024**3 / self.time(turn)


def measure(table: Table, turns: dict[str, Turn], rounds: int, clock: Clock, progress: Progress) -> Table:
    """Fill a table: every contestant warms up once, then all take turns."""
    task = progress.add_task(table.title, total=rounds * len(turns))
    for turn in turns.values():
        turn()
    for _ in range(rounds):
        for name, turn in turns.items():
            table.seconds.setdefault(name, []).append(clock.time(turn))
            progress.advance(task)
        table.peak = max(table.peak, clock.peak())
    return table


def engine_tables(args: Args, clock: Clock, progress: Progress) -> list[Table]:
    """Return a table per host and fleet size: both engines, bf16, and both loops of modules."""
    tables = []
    for title, host in HOSTS.items():
        for n in args.sizes or SIZES[args.device]:
            wanted, least = (args.images, 1) if title == TINY else (args.images // 16, 1 if args.quick else 2)
            steps = max(least, wanted // (n * BATCH))
            data = Data.draw(host, n, steps, args.device)
            turns = {
                BASE: cases.module_loop(host, data, torch.contiguous_format),
                BASE_LAST: cases.module_loop(host, data, torch.channels_last),
            }
            for engine in ("grouped", "looped"):
                turns[engine] = cases.training(cases.new_fleet(host, data, engine), data)
            if args.device == "cuda":
                turns["grouped, CUDA graph"] = cases.graphed(cases.new_fleet(host, data, "grouped"), data)
            best = "grouped" if title == TINY else "looped"
            turns[f"{best}, bf16"] = cases.training(cases.new_fleet(host, data, best, "bf16"), data)
            table = Table(f"{title}, {n} hosts", n, n * steps * BATCH, cases.flops(host))
            rounds = args.rounds if title == TINY else min(args.rounds, 2)
            tables.append(measure(table, turns, rounds, clock, progress))
    return tables


def seed_table(n: int, args: Args, clock: Clock, progress: Progress) -> Table:
    """Return the cost of seeds: none, a mix, and every host with a seed of one blueprint."""
    host, steps = HOSTS[TINY], max(1, args.images // (n * BATCH))
    data = Data.draw(host, n, steps, args.device)
    turns = {"no seeds": cases.training(cases.new_fleet(host, data, "grouped"), data)}
    turns["mix: 70% of hosts, all blueprints and sites"] = cases.training(cases.seeded_fleet(host, data, None)[0], data)
    for name in BLUEPRINTS:
        turns[f"every host a {name}"] = cases.training(cases.seeded_fleet(host, data, name)[0], data)
    table = Table(f"seeds, {n} tiny hosts", n, n * steps * BATCH, cases.flops(host))
    return measure(table, turns, args.rounds, clock, progress)


def evaluation_table(n: int, args: Args, clock: Clock, progress: Progress) -> Table:
    """Return the cost of an evaluation on 256 images without and with counterfactuals."""
    host = HOSTS[TINY]
    data = Data.draw(host, n, 1, args.device)
    fleet, live = cases.seeded_fleet(host, data, None)
    turns = {
        "one pass": cases.evaluation(fleet, data, torch.full_like(live, -1)),
        "with the counterfactual": cases.evaluation(fleet, data, live),
    }
    return measure(Table(f"evaluation, {n} tiny hosts", n, n * 256, 0), turns, args.rounds, clock, progress)


def episode_table(n: int, args: Args, clock: Clock, progress: Progress) -> Table:
    """Return the cost of whole episodes: 25 steps of training and an evaluation."""
    turns = {}
    for name, host, steps in (("16x16 colour, 512 images", HOSTS[TINY], 16), ("8x8 grey, 256 images", SMALL, 8)):
        turns[name] = cases.episodes(host, Data.draw(host, n, 1 if args.quick else steps, args.device))
    return measure(Table(f"episodes, {n} hosts", n, n, 0), turns, min(args.rounds, 2), clock, progress)


def measured(part: str, args: Args, clock: Clock, progress: Progress) -> list[dict[str, Any]]:
    """Return what a part of the benchmark found, as plain data."""
    sizes, small = (2,) if args.quick else (16, 64), args.quick
    match part:
        case "engines":
            found: list[Any] = engine_tables(args, clock, progress)
        case "seeds":
            found = [seed_table(n, args, clock, progress) for n in sizes]
        case "evaluation":
            found = [evaluation_table(n, args, clock, progress) for n in sizes]
        case "episodes":
            found = [episode_table(sizes[0], args, clock, progress)]
        case "curves":
            found = [measure_curves(2 if small else 16, 2 if small else 25, args.device)]
        case _:
            image_sizes = (8,) if small else (8, 16)
            found = [measure_steps(size, 3 if small else 8) for size in image_sizes]
            found += [measure_batches(8, 1, 4)] if small else [measure_batches(size, 5) for size in image_sizes]
    return [vars(one) for one in found]


def write(kept: dict[str, Any], path: Path) -> None:
    """Write results; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(kept, indent=1) + "\n")
    temporary.replace(path)


def main(argv: Sequence[str]) -> int:
    """Run the benchmark; return the exit status."""
    try:
        args = tyro.cli(Args, args=argv, description=__doc__)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.quick:
        args = Args(args.out, args.device, 1, (1, 2), 64, args.parts, True)
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    console, clock = Console(), Clock(args.device)
    path = args.out / ("fleet.json" if args.device == "cpu" else f"fleet_{args.device}.json")
    command = shlex.join(["python", "benchmarks/fleet.py", *argv])
    kept: dict[str, Any] = json.loads(path.read_text()) if args.parts and path.exists() else {}
    with Progress(console=console) as progress:
        for part in args.parts or [part for part in PARTS if part != "processes" or args.device == "cpu"]:
            kept[part] = measured(part, args, clock, progress)
            kept.setdefault("commands", {})[part] = command
            write(kept, path)
    text = report(kept, args.device)
    path.with_suffix(".md").write_text(text)
    if "engines" in kept:
        plot([Table(**table) for table in kept["engines"]], path.with_suffix(".png"), unit_of(args.device))
    console.print(Markdown(text))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
