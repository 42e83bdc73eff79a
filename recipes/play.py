"""Be Tamiyo: watch one host train, and decide by hand what to grow in it.

    python recipes/play.py                       # an 8x8 host, about a second a step
    python recipes/play.py --seed 7              # another host
    python recipes/play.py --env.image-size 16   # in colour, slower

One key a step: the screen shows which; Enter waits, h explains, q leaves. At the end the hidden deficit is told, and
never growing, the best fixed schedule and every single planting meet the same host; the timeline is drawn.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.markdown import Markdown
from torch import Tensor

from tamiyo_trl import cli
from tamiyo_trl.cli import progress_bar
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.envs.growth.situation import legal_actions
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation import Episode, evaluate
from tamiyo_trl.evaluation.baselines import make_baseline
from tamiyo_trl.evaluation.plots import timeline
from tamiyo_trl.evaluation.screen import HELP, HELP_KEY, QUIT_KEY, WAIT_KEY, Situation, moves, screen
from tamiyo_trl.policies import FixedSchedule, NeverGrow, Planting
from tamiyo_trl.policies.baselines import Baseline
from tamiyo_trl.studies.references import watching

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
        self._accuracies: list[float] = []

    def choose(self, observation: Tensor, mask: Tensor) -> Tensor:
        """Show the situation and return the action entered, int64 [1, 3]."""
        world, config = self._env.world, self._env.config
        now = world.readings
        if int(now.step[0]) == 0:
            self._accuracies = []
        self._accuracies.append(float(now.val_accuracy[0]))
        situation = Situation.read(now, 0, legal_actions(mask[0].cpu()), self._accuracies)
        legal, note = moves(situation, config), ""
        while True:
            console.clear()
            console.print("\n" + screen(situation, config, note), highlight=False, markup=False, soft_wrap=True)
            entered = ask()
            if entered in legal:
                return torch.tensor([legal[entered]])
            if entered == HELP_KEY:
                console.print("\n" + HELP, highlight=False, markup=False)
                ask("Enter goes back: ")
                note = ""
            else:
                note = f"{entered!r} is no move now; the keys are {' '.join(sorted(legal))}, h helps, q leaves"


def ask(prompt: str = "your move: ") -> str:
    """Return the key entered; nothing entered waits.

    Raises:
        Quit: the person leaves.
    """
    try:
        entered = input(prompt).strip() or WAIT_KEY
    except EOFError as end:
        raise Quit from end
    if entered in (QUIT_KEY, "quit"):
        raise Quit
    return entered


def run(args: Args, argv: list[str]) -> int:
    """Let a person play an episode, and say what others make of the same host."""
    make_room(args.out)
    env = GrowthEnv(args.env, n_envs=1, seed=args.seed)
    console.print(HELP, highlight=False, markup=False)
    try:
        ask("Enter begins: ")
        tell(args, evaluate(env, Person(env), 1)[0])
    except (Quit, KeyboardInterrupt):
        console.print("\nleft before the end; nothing was drawn")
        return cli.STOPPED
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


def tell(args: Args, yours: Episode) -> None:
    """Say what was wrong with the host, and what others make of it; draw you beside them."""
    env = GrowthEnv(watching(args.env), n_envs=1, seed=args.seed)
    deficit = env.world.episodes.family.deficits[yours.deficit].name
    best, planted = best_planting(args, env)
    others = {
        "you": yours,
        "never-grow": replay(args, env, NeverGrow()),
        "fixed schedule": replay(args, env, make_baseline("fixed schedule", watching(args.env), args.seed)),
        f"in hindsight: {best}": planted,
    }
    console.print(f"\nhidden deficit: {deficit}", highlight=False)
    rows = ["| on this host | final test accuracy | return | planted | kept |", "|---|---|---|---|---|"]
    for name, played in sorted(others.items(), key=lambda item: -item[1].final_accuracy):
        score = f"{100 * played.final_accuracy:.1f}% | {played.reward:+.2f} | {played.germinated} | {played.fossilized}"
        rows.append(f"| {name} | {score} |")
    console.print(Markdown("\n".join(rows)))
    gained = 100 * (yours.final_accuracy - others["never-grow"].final_accuracy)
    console.print(f"you gained {gained:+.1f} points over never growing", highlight=False)
    shown = [(f"you: {deficit}", yours), ("never-grow", others["never-grow"]), (f"hindsight: {best}", planted)]
    timeline(shown, args.env.blueprints, args.out)
    console.print(f"  {args.out}", soft_wrap=True)


def replay(args: Args, env: GrowthEnv, policy: Baseline) -> Episode:
    """Return what a controller makes of the same host."""
    env.set_seed(args.seed, static_seed=True)
    return evaluate(env, policy, 1, seed=args.seed)[0]


def best_planting(args: Args, env: GrowthEnv) -> tuple[str, Episode]:
    """Return the single seed, planted at the start and kept, that this host would have gained most from."""
    config, found = args.env, {}
    places = [(site, kind) for site in range(len(config.sites)) for kind in range(len(config.blueprints))]
    with progress_bar(console) as progress:
        task = progress.add_task("every single planting", total=len(places), shown="")
        for site, kind in places:
            policy = FixedSchedule(watching(config), config.episode_steps, [Planting(0, site, kind)])
            found[f"{config.blueprints[kind]} at site {site}"] = replay(args, env, policy)
            progress.advance(task)
    best = max(found, key=lambda name: found[name].reward)
    return best, found[best]


main = partial(cli.main, Args, run, __doc__)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
