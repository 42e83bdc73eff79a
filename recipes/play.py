"""Be Tamiyo: watch one host train, and decide by hand what to grow in it.

    python recipes/play.py                       # an 8x8 host, about a second a step
    python recipes/play.py --seed 7              # another host
    python recipes/play.py --env.image-size 16   # in colour, slower

Each step shows what a controller sees, and the legal actions with their numbers. Enter a number; nothing entered waits,
q quits. At the end the hidden deficit is told, never growing is played on the same host, and the timeline is drawn.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from rich.console import Console
from torch import Tensor

from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.envs.growth.situation import legal_actions
from tamiyo_trl.errors import ConfigError, TamiyoError
from tamiyo_trl.evaluation import Episode, evaluate
from tamiyo_trl.evaluation.plots import timeline
from tamiyo_trl.policies import NeverGrow
from tamiyo_trl.policies.baselines import Baseline

console = Console()
PICTURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Args:
    """Play one episode by hand.

    Attributes:
        seed: Root seed of the host.
        out: Where the timeline is drawn.
        threads: Intra-op threads.
        env: What is simulated.
    """

    seed: int = 0
    out: Path = Path("runs/play/timeline.png")
    threads: int = 1
    env: GrowthConfig = field(default_factory=lambda: GrowthConfig(image_size=8))


class Quit(Exception):  # noqa: N818 - no error
    """The person has had enough."""


class Person(Baseline):
    """Asks the person at the terminal for the action of the one env."""

    def __init__(self, env: GrowthEnv) -> None:
        super().__init__()
        self._env = env

    def choose(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Show the situation and return the action entered, int64 [1, 3]."""
        console.print("\n" + self._env.render(), highlight=False, markup=False, soft_wrap=True)
        legal = legal_actions(mask[0].cpu())
        while True:
            try:
                entered = input("action (number, nothing to wait, q to quit): ").strip().lower()
            except EOFError as end:
                raise Quit from end
            if entered in ("q", "quit"):
                raise Quit
            if not entered:
                return torch.tensor([legal[0]])  # WAIT is always legal and first
            if entered.isdigit() and int(entered) < len(legal):
                return torch.tensor([legal[int(entered)]])
            console.print(f"an action is a number from 0 to {len(legal) - 1}, got {entered!r}", markup=False)


def main(argv: list[str]) -> int:
    """Run the recipe; return the exit status."""
    try:
        args = tyro.cli(Args, args=argv, description=__doc__, config=(tyro.conf.AvoidSubcommands,))
        torch.set_num_threads(args.threads)
        make_room(args.out)
        env = GrowthEnv(args.env, n_envs=1, seed=args.seed)
        yours = evaluate(env, Person(env), 1)[0]
        tell(args, env, yours)
    except TamiyoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (Quit, KeyboardInterrupt):
        console.print("\nleft before the end; nothing was drawn")
        return 130
    return 0


def make_room(out: Path) -> None:
    """See to it, before anybody plays, that the picture can be drawn there.

    Raises:
        ConfigError: it cannot.
    """
    if out.suffix not in PICTURES or out.is_dir():
        raise ConfigError(f"out must be a file that ends in one of {', '.join(PICTURES)}, got {out}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out cannot be drawn in {out.parent}: {error}") from error


def tell(args: Args, env: GrowthEnv, yours: Episode) -> None:
    """Say how it went, against never growing on the same host, and draw both."""
    env.set_seed(args.seed, static_seed=True)
    never = evaluate(env, NeverGrow(), 1)[0]
    deficit = env.world.episodes.family.deficits[yours.deficit].name
    difference = 100 * (yours.final_accuracy - never.final_accuracy)
    console.print(f"\nhidden deficit: {deficit}")
    console.print(
        f"final test accuracy: {100 * yours.final_accuracy:.1f}%, never growing: {100 * never.final_accuracy:.1f}%"
    )
    console.print(f"you gained {difference:+.1f} points; return {yours.reward:.2f} against {never.reward:.2f}")
    timeline([(f"you: {deficit}", yours), ("never-grow", never)], args.env.blueprints, args.out)
    console.print(f"  {args.out}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
