"""Measure recurrent PPO: env-steps per second of our loop, of plain torch doing the same maths, and of a peer.

    python benchmarks/recurrent_ppo.py                                          # about three minutes
    python benchmarks/recurrent_ppo.py --sb3-python /tmp/venv_sb3/bin/python    # with sb3-contrib, installed there
    python benchmarks/recurrent_ppo.py --quick --out /tmp/smoke                 # seconds; proves that it runs

Masked-velocity CartPole, 16 environments x 128 steps, 4 epochs of 4 minibatches, LSTM 128, slices of 8. Contestants
take turns, each in a process of its own with one thread, so that a busy machine slows all alike: read the ratios.
Writes <out>/recurrent_ppo.json and <out>/recurrent_ppo.md.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that this file can be run by its name

import tyro  # noqa: E402 (after the path)
from rich.console import Console  # noqa: E402
from rich.markdown import Markdown  # noqa: E402
from rich.progress import track  # noqa: E402

from benchmarks.contestants import CONTESTANTS, stored_bytes  # noqa: E402
from benchmarks.sizes import Sizes  # noqa: E402

PEER = "sb3-contrib RecurrentPPO"
BASE = "plain torch"


@dataclass(frozen=True)
class Args:
    """Measure recurrent PPO against plain torch and a peer.

    Attributes:
        out: Folder of the results.
        rounds: Turns of every contestant.
        updates: Updates per turn.
        quick: One turn of one small update each: whether everything runs.
        sb3_python: Interpreter that has sb3-contrib; empty leaves the peer out.
        sizes: What is measured.
    """

    out: Path = ROOT / "benchmarks" / "results"
    rounds: int = 8
    updates: int = 3
    quick: bool = False
    sb3_python: str = ""
    sizes: Sizes = field(default_factory=Sizes)


class Worker:
    """A contestant in a process of its own."""

    def __init__(self, name: str, sizes: Sizes, python: str) -> None:
        command = [python, "-W", "ignore", "-m", "benchmarks.worker", name, json.dumps(dataclasses.asdict(sizes))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)

    def advance(self, updates: int) -> dict[str, float]:
        """Let it learn from `updates` batches; return frames, wall and CPU seconds."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        self.process.stdin.write(json.dumps({"advance": updates}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contestant died: {shlex.join(map(str, self.process.args))}")  # type: ignore[arg-type]  # a list
        taken: dict[str, float] = json.loads(line)
        return taken

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def measure(args: Args, console: Console) -> dict[str, list[dict[str, float]]]:
    """Return what every turn of every contestant took; the first turn, a warm-up, is not among them."""
    pythons = dict.fromkeys(CONTESTANTS, sys.executable) | ({PEER: args.sb3_python} if args.sb3_python else {})
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    with ExitStack() as stack:
        workers = {}
        for name, python in track(pythons.items(), "warming up", console=console, transient=True):
            workers[name] = Worker(name, args.sizes, python)
            stack.callback(workers[name].close)
            workers[name].advance(1)
        for _ in track(range(args.rounds), "measuring", console=console):
            for name, worker in workers.items():
                taken[name].append(worker.advance(args.updates))
    return taken


def summarise(taken: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Return a line per contestant: median rates, and time as a multiple of plain torch's in the same round."""
    lines = []
    for name, turns in taken.items():
        base = BASE + (", collecting only" if "collecting" in name else "")
        ratios = [turn["cpu"] / other["cpu"] for turn, other in zip(turns, taken[base])]
        lines.append(
            {
                "contestant": name,
                "steps_per_cpu_second": round(median(turn["frames"] / turn["cpu"] for turn in turns)),
                "steps_per_second": round(median(turn["frames"] / turn["wall"] for turn in turns)),
                "time_over_plain_torch": round(median(ratios), 3),
                "lowest": round(min(ratios), 3),
                "highest": round(max(ratios), 3),
                "turns": len(turns),
            }
        )
    return lines


def versions(args: Args) -> dict[str, str]:
    """Return what was measured with."""
    found = {name: version(name) for name in ("torch", "torchrl", "tensordict", "numpy")}
    if args.sb3_python:
        ask = "from importlib.metadata import version; print(version('sb3-contrib'))"
        reply = subprocess.run([args.sb3_python, "-c", ask], capture_output=True, text=True, check=True)
        found["sb3-contrib"] = reply.stdout.strip()
    return found | {"python": platform.python_version(), "machine": platform.machine()}


def report(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    head = "| contestant | steps per CPU-second | steps per second | CPU time, plain torch = 1 (lowest to highest) |"
    lines = [
        f"| {line['contestant']} | {line['steps_per_cpu_second']:,} | {line['steps_per_second']:,} "
        f"| {line['time_over_plain_torch']:.2f} ({line['lowest']:.2f} to {line['highest']:.2f}) |"
        for line in results["lines"]
    ]
    sizes, stored = results["sizes"], results["bytes_per_frame"]
    entries = ", ".join(f"{key} {size}" for key, size in sorted(stored.items(), key=lambda item: -item[1]))
    peer = ""
    if results["sb3_over_ours"]:
        peer = f"sb3-contrib takes {results['sb3_over_ours']:.2f} times our CPU time.\n\n"
    return (
        "# Recurrent PPO, masked-velocity CartPole\n\n"
        f"{sizes['envs']} environments x {sizes['steps']} steps, {sizes['epochs']} epochs of {sizes['minibatches']} "
        f"minibatches, LSTM {sizes['hidden']}, slices of {sizes['slice_len']}, one thread; medians of "
        f"{results['lines'][0]['turns']} turns of {results['updates']} updates, contestants taking turns.\n\n"
        f"{head}\n| --- | --- | --- | --- |\n" + "\n".join(lines) + f"\n\n{peer}"
        f"Stored per frame: {sum(stored.values()):,} bytes ({entries}).\n\n"
        f"`{results['command']}`; {', '.join(f'{name} {text}' for name, text in results['versions'].items())}.\n"
    )


def main(argv: Sequence[str]) -> int:
    """Run the benchmark; return the exit status."""
    console = Console()
    args = tyro.cli(Args, args=argv, description=__doc__)
    if args.quick:
        small = Sizes(envs=4, steps=16, hidden=8, encoder=8)
        args = dataclasses.replace(args, rounds=1, updates=1, sizes=small)
    taken = measure(args, console)
    cpu = {name: sum(turn["cpu"] for turn in turns) for name, turns in taken.items()}
    results = {
        "command": shlex.join(["python", "benchmarks/recurrent_ppo.py", *argv]),
        "versions": versions(args),
        "sizes": dataclasses.asdict(args.sizes),
        "updates": args.updates,
        "lines": summarise(taken),
        "sb3_over_ours": round(cpu[PEER] / cpu["ours"], 3) if PEER in cpu else None,
        "bytes_per_frame": stored_bytes(args.sizes),
        "turns": taken,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    text = report(results)
    (args.out / "recurrent_ppo.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (args.out / "recurrent_ppo.md").write_text(text, encoding="utf-8")
    console.print(Markdown(text))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
