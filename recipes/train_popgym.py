"""Train on POPGym, environments by others that need a memory, and tabulate what was reached.

    python recipes/train_popgym.py --env RepeatPreviousEasy                    # three seeds of 300,000 frames
    python recipes/train_popgym.py --env RepeatFirstEasy HigherLowerEasy --seeds 0
    python recipes/train_popgym.py --memory mlp --label mlp                    # a control without memory
    python recipes/train_popgym.py --help                                      # every setting

Every finished run is one file, <out>/<label>/<env>/seed_<n>.json; runs that are finished are not run again, so the
same command goes on where it was stopped. At the end recipes/report_popgym.py makes <out>/results.md and its pictures
anew from all files. Needs pip install "tamiyo-trl[popgym]".
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torchrl.envs import EnvBase, GymWrapper, TransformedEnv

from tamiyo_trl import cli, keys
from tamiyo_trl.errors import ConfigError, RunFolderError
from tamiyo_trl.files import write_json
from tamiyo_trl.objectives import PPOConfig, PPOLearner
from tamiyo_trl.policies import ActorCriticOptions, PrivilegedCritic, SeparateTrunks, SharedTrunk, make_actor_critic
from tamiyo_trl.policies.trunks import Critic
from tamiyo_trl.seeding import derive_seed
from tamiyo_trl.training import TrainConfig, train
from tamiyo_trl.transforms import PreviousAction

LATE = 0.1  # share of the frames, the last ones, over whose episodes the reported return is averaged
PACKAGES = ("torch", "torchrl", "tensordict", "popgym", "gymnasium", "numpy")
CRITICS: dict[str, Critic] = {
    "shared": SharedTrunk(),
    "separate": SeparateTrunks(),
    "privileged": PrivilegedCritic(memory="lstm"),
}
LEARNER = PPOConfig(slice_len=128, lr=1e-3, lr_end=0.0, entropy_coeff=0.01, entropy_end=0.01, target_kl=math.inf)


@dataclass(frozen=True)
class Args:
    """Train on POPGym environments, all under the same settings.

    Attributes:
        env: Names of POPGym environments, such as RepeatPreviousEasy.
        seeds: Root seeds; one run each.
        label: Name of these settings in the table and of their folder.
        out: Folder of all results.
        frames: Environment steps of a run; rounded down to whole batches.
        n_envs: Environments side by side.
        steps: Steps of every environment per update.
        memory: The policy's memory.
        hidden_size: Units of the memory.
        encoder_size: Units of the encoder before it.
        trunks: Whether policy and value share encoder and memory; privileged: each has its own and the value sees the
            full state.
        threads: Intra-op threads; more than 1 is slower for networks this small.
        ppo: The learner's settings.
    """

    env: tuple[str, ...] = ("RepeatPreviousEasy",)
    seeds: tuple[int, ...] = (0, 1, 2)
    label: str = "lstm"
    out: Path = Path("docs/results/popgym")
    frames: int = 300_000
    n_envs: int = 16
    steps: int = 128
    memory: Literal["lstm", "gru", "mlp", "frames"] = "lstm"
    hidden_size: int = 128
    encoder_size: int = 128
    trunks: Literal["shared", "separate", "privileged"] = "separate"
    threads: int = 1
    ppo: PPOConfig = LEARNER

    def __post_init__(self) -> None:
        for name in ("frames", "n_envs", "steps", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1: {getattr(self, name)}")
        if self.frames < self.batch:
            raise ConfigError(f"frames must hold one batch of {self.batch}: {self.frames}")
        if not self.label or Path(self.label).name != self.label:
            raise ConfigError(f"label must be a plain folder name, got {self.label!r}")

    @property
    def batch(self) -> int:
        """Frames per update."""
        return self.n_envs * self.steps

    @property
    def total(self) -> int:
        """Frames per run, in whole batches."""
        return self.frames // self.batch * self.batch

    def settings(self) -> dict[str, Any]:
        """Return what decides the numbers of a run beside environment and seed, as JSON knows it."""
        fixed = dataclasses.asdict(self)
        for name in ("env", "seeds", "label", "out", "threads"):
            del fixed[name]
        for name in ("lr", "lr_end", "entropy_coeff", "entropy_end"):  # where the files have them
            fixed[name] = fixed["ppo"].pop(name)
        plain: dict[str, Any] = json.loads(json.dumps(fixed))
        return plain


def popgym_class(name: str) -> Callable[[], Any]:
    """Return the POPGym environment called `name`.

    Raises:
        ConfigError: POPGym is not installed, or has no such environment.
    """
    try:
        import popgym.envs
    except ImportError:
        raise ConfigError('POPGym is not installed: pip install "tamiyo-trl[popgym]"') from None
    known = {cls.__name__: cls for cls in popgym.envs.ALL}
    if name not in known:
        raise ConfigError(f"unknown POPGym environment {name!r}: allowed are {', '.join(sorted(known))}")
    found: Callable[[], Any] = known[name]
    return found


def make_env(name: str, n_envs: int, seed: int, shows_state: bool = False) -> EnvBase:
    """Return `n_envs` POPGym environments as one batched environment: flat float observation, previous action in it.

    With `shows_state` the full state stands beside it as "privileged".
    """
    cls = popgym_class(name)
    from gymnasium.spaces import Discrete, MultiDiscrete
    from gymnasium.vector import AutoresetMode, SyncVectorEnv
    from gymnasium.wrappers import DtypeObservation, FlattenObservation, TransformAction

    def one() -> Any:
        env = DtypeObservation(FlattenObservation(cls()), np.float32)
        if shows_state:
            env = beside_its_state(env)
        if isinstance(env.action_space, MultiDiscrete):  # TorchRL misreads heads of one size: one head of all pairs
            sizes = env.action_space.nvec
            whole = Discrete(int(sizes.prod()))
            return TransformAction(env, lambda action: np.array(np.unravel_index(action, sizes)), whole)
        return env

    actions = one().action_space
    if not isinstance(actions, Discrete):
        raise ConfigError(f"{name} has continuous actions ({actions}): only discrete ones are served")
    vector = SyncVectorEnv([one] * n_envs, autoreset_mode=AutoresetMode.DISABLED)
    env = GymWrapper(vector, categorical_action_encoding=True)
    env.set_seed(derive_seed(seed, "popgym", name) % 2**31)
    return TransformedEnv(env, PreviousAction())


def beside_its_state(env: Any) -> Any:
    """Return a POPGym environment that shows its full state, flat, as "privileged" beside the observation."""
    from gymnasium.spaces import Box, Dict
    from gymnasium.spaces.utils import flatdim, flatten
    from gymnasium.wrappers import TransformObservation

    whole = env.unwrapped
    space = Box(-np.inf, np.inf, (flatdim(whole.state_space),), np.float32)

    def show(observation: Any) -> dict[str, Any]:
        state = np.asarray(flatten(whole.state_space, whole.get_state()), np.float32)
        return {keys.OBSERVATION: observation, keys.PRIVILEGED: state}

    return TransformObservation(env, show, Dict({keys.OBSERVATION: env.observation_space, keys.PRIVILEGED: space}))


def learn(name: str, seed: int, args: Args, show: Callable[[Mapping[str, float]], None]) -> dict[str, Any]:
    """Train one run, showing the metrics of every update; return its record."""
    env = make_env(name, args.n_envs, seed, shows_state=args.trunks == "privileged")
    options = ActorCriticOptions(critic=CRITICS[args.trunks])
    actor_critic = make_actor_critic(
        env,
        args.memory,
        hidden_size=args.hidden_size,
        encoder_size=args.encoder_size,
        seed=seed,
        options=options,
    )
    learner = PPOLearner(actor_critic, args.ppo, seed=seed, total_frames=args.total)
    config = TrainConfig(total_frames=args.total, frames_per_batch=args.batch, seed=seed)
    wrapped = TransformedEnv(env, actor_critic.transforms(), auto_unwrap=False)
    curve = []
    wall, cpu = time.perf_counter(), time.process_time()
    for metrics in train(wrapped, actor_critic, learner, config):
        show(metrics)
        if metrics["episode/count"]:
            point = (metrics["train/frames"], metrics["episode/count"], metrics["episode/return"])
            curve.append([int(point[0]), int(point[1]), round(point[2], 6)])
    return {
        "env": name,
        "seed": seed,
        "return": late_return(curve, args.total),
        "frames": args.total,
        "parameters": sum(parameter.numel() for parameter in actor_critic.parameters()),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "wall_seconds": round(time.perf_counter() - wall, 1),
        "settings": args.settings(),
        "versions": {package: version(package) for package in PACKAGES} | {"python": platform.python_version()},
        "curve": curve,
    }


def late_return(curve: Sequence[Sequence[float]], total: int) -> float:
    """Return the mean return of the episodes of `curve` [(frames, episodes, mean return)] in the last frames."""
    late = [(count, value) for frames, count, value in curve if frames > (1 - LATE) * total]
    episodes = sum(count for count, _ in late)
    return sum(count * value for count, value in late) / episodes if episodes else math.nan


def train_all(args: Args, console: Console) -> None:
    """Train what is not finished yet, showing progress; write a file per run."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[seen]}"), TimeRemainingColumn())
    for name in args.env:
        popgym_class(name)
    with Progress(*columns, console=console) as progress:
        for name in args.env:
            for seed in args.seeds:
                path = args.out / args.label / name / f"seed_{seed}.json"
                bar = progress.add_task(f"{name} seed {seed}", total=args.total, seen="")
                if is_finished(path, args):
                    progress.update(bar, completed=args.total, seen="was finished")
                    continue

                def show(metrics: Mapping[str, float], bar: Any = bar) -> None:
                    seen = f"return {metrics['episode/return']:.2f}"
                    progress.update(bar, completed=metrics["train/frames"], seen=seen)

                write_json(path, learn(name, seed, args, show))


def is_finished(path: Path, args: Args) -> bool:
    """Return whether the run at `path` is there already.

    Raises:
        RunFolderError: it, or another run of its label, is of other settings.
    """
    wanted = args.settings()
    for found in sorted(path.parents[1].glob("*/seed_*.json")):
        saved = json.loads(found.read_text(encoding="utf-8"))["settings"]
        different = sorted(key for key in {*saved, *wanted} if saved.get(key) != wanted.get(key))
        if different:
            raise RunFolderError(f"{found} is of other settings ({', '.join(different)}): choose another --label")
    return path.exists()


def run(args: Args, argv: list[str]) -> None:
    """Train what is not finished yet, and report."""
    console = Console()
    train_all(args, console)
    report(args.out, console)


def report(out: Path, console: Console) -> None:
    """Make the page and the pictures of all runs under `out` anew, in a process of its own, and show the page."""
    subprocess.run([sys.executable, str(Path(__file__).with_name("report_popgym.py")), str(out)], check=True)
    console.print(Markdown((out / "results.md").read_text(encoding="utf-8")))
    console.print(f"written to {out}/results.md")


main = partial(cli.main, Args, run, __doc__, stopped="stopped; the same command goes on from here")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
