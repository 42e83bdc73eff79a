"""Make the file of a trained controller that comes with the package, and its card.

    python recipes/train.py --name lstm-minimal --memory lstm --env.observation minimal ...
    python recipes/ship_controller.py --run runs/lstm-minimal --name lstm-minimal

Reads a finished run of recipes/train.py. Writes <name>.safetensors (what acting needs, matrices in half precision) and
<name>.md to tamiyo_trl/grow/controllers/. The file that is shipped is measured itself, on the run's held-out hosts.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
import tyro
from torchrl.envs import TransformedEnv

from tamiyo_trl.envs import GrowthEnv
from tamiyo_trl.errors import RunFolderError, TamiyoError
from tamiyo_trl.evaluation import Episode, compare, evaluate
from tamiyo_trl.evaluation.baselines import BASELINES, load_episodes
from tamiyo_trl.evaluation.comparison import Row
from tamiyo_trl.evaluation.statistics import Estimate
from tamiyo_trl.grow import Card, TrainedController, load_controller
from tamiyo_trl.grow.trained import SHIPPED, find_setting, write_controller

LIMITS = (
    "It was trained on three-block CNNs of 8, 16 and 32 channels; how it does on other networks is a matter of trial: "
    "recipes/grow_your_model.py is one.",
    "It was shown accuracies and losses of ten-class images; other losses and class counts lie outside of what it saw.",
    "It was trained for episodes of 25 epochs; time is shown to it as the share of the epochs that has passed.",
    "One training seed.",
)


@dataclass(frozen=True)
class Args:
    """Make a shipped controller from a run.

    Attributes:
        run: Folder of a finished run of recipes/train.py.
        name: What the controller is called.
        out: Folder that it is written to.
        n_envs: Hosts that are measured at once; as in the run, so that hosts pair with its baselines'.
        limits: Known limits that the card tells, beside the usual ones.
    """

    run: Path
    name: str
    out: Path = SHIPPED
    n_envs: int = 32
    limits: tuple[str, ...] = ()


def main(argv: Sequence[str]) -> int:
    """Run the recipe; return the exit status."""
    try:
        torch.set_num_threads(1)
        ship(tyro.cli(Args, args=list(argv), description=__doc__))
    except TamiyoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def ship(args: Args) -> None:
    """Write the controller, measure what was written, and write its card."""
    trained = load_controller(args.run)
    missing = [name for name in BASELINES if not (args.run / "held_out" / file_of(name)).exists()]
    if missing:
        raise RunFolderError(f"{args.run} is not finished: it lacks held-out results of {', '.join(missing)}")
    packages = ("torch", "torchrl", "tensordict")
    versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
    limits = (*LIMITS, *args.limits)
    card = dataclasses.replace(trained.card, name=args.name, versions=versions, limits=limits)
    path = args.out / f"{args.name}.safetensors"
    write_controller(path, TrainedController(card, trained.actor_critic))
    written = load_controller(path)
    rows, hosts = measure(args, written)
    lines = tuple(line_of(row, hosts) for row in rows)
    written = TrainedController(dataclasses.replace(card, held_out=lines), written.actor_critic)
    write_controller(path, written)
    (args.out / f"{args.name}.md").write_text(page(written.card, rows, hosts))
    print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
    print("\n".join(lines))


def file_of(name: str) -> str:
    """Return the results file of a controller in a run's folder."""
    return f"{name.replace(' ', '-')}.json"


def measure(args: Args, controller: TrainedController) -> tuple[list[Row], int]:
    """Return what the controller and the run's baselines make of the run's held-out hosts, and how many these are."""
    results: dict[str, list[Episode]] = {
        name: load_episodes(args.run / "held_out" / file_of(name)) for name in BASELINES
    }
    seed = eval_seed(args.run)
    env = TransformedEnv(GrowthEnv(controller.world, args.n_envs, seed), controller.transforms())
    env.set_seed(seed, static_seed=True)
    hosts = len(results[BASELINES[0]])
    own = evaluate(env, controller.policy, hosts, seed=seed)
    if [episode.seed for episode in own] != [episode.seed for episode in results[BASELINES[0]]]:
        raise RunFolderError(f"{args.run}'s held-out hosts are others: give its --n-envs, and this version's run")
    return compare({args.name: own} | results, reference="never-grow", random="random-legal"), hosts


def eval_seed(run: Path) -> int:
    """Return the root seed of a run's held-out hosts."""
    return int(find_setting(json.loads((run / "config.json").read_text())["settings"], "eval_seed"))


def percent(estimate: Estimate, form: str) -> str:
    """Return an accuracy with its interval."""
    mean, low, high = (100 * value for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def line_of(row: Row, hosts: int) -> str:
    """Return one controller's figures in a line."""
    return (
        f"{row.name}: {percent(row.final_accuracy, '.1f')} % final test accuracy, {percent(row.gain, '+.1f')} points "
        f"over never-grow, {row.added_parameters:,.0f} added parameters ({hosts} held-out hosts)"
    )


def page(card: Card, rows: Sequence[Row], hosts: int) -> str:
    """Return the card as a page."""
    world = {name: value for name, value in card.world.items() if not isinstance(value, dict)}
    inner = {name: value for name, value in card.world.items() if isinstance(value, dict)}
    settings = [f"- {name}: {value}" for name, value in world.items()]
    settings += [f"- {name}: {', '.join(f'{k} {v}' for k, v in value.items())}" for name, value in inner.items()]
    parts = [
        f"# Controller `{card.name}`",
        f"Memory: {card.memory}, {card.hidden_size} units, behind an encoder of {card.encoder_size}; acts by samples. "
        f'`load_controller("{card.name}")`.',
        "## Held-out hosts",
        "\n".join(f"- {line}" for line in card.held_out),
        "All met the same hosts, which it was not trained on; square brackets are 95% bootstrap intervals, differences "
        "paired by host. Measured of the file as it is shipped, in half precision.",
        "## What it reads",
        ", ".join(card.space.feature_names) + ".",
        f"It knows {card.space.sites} sites and the blueprints {', '.join(card.space.blueprints)}.",
        "## How it was made",
        f"- `{card.command}`\n- {', '.join(f'{name} {value}' for name, value in card.versions.items())}\n"
        f"- {platform.machine()} CPU",
        "## The world it was trained in",
        "\n".join(settings),
        "## Known limits",
        "\n".join(f"- {line}" for line in card.limits),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
