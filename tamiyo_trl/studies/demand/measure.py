"""The demand of a world on memory: scripted bounds, readability of the hidden facts, and the regret of one look.

Scripts that act on readings are the same but for what they read: one observation, or the episode so far. What the
second earns over the first on the same hosts is what memory is worth there to a controller that reads as well as these
models do. Every part lies in a file as soon as it is measured, so that a stopped study goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import TransformedEnv

from tamiyo_trl import keys
from tamiyo_trl.envs import GrowthConfig, GrowthEnv
from tamiyo_trl.errors import ConfigError
from tamiyo_trl.evaluation.rollout import Episode, evaluate, rollout_episodes
from tamiyo_trl.policies import ActorCritic
from tamiyo_trl.studies.demand.knowledge import BAD, Either, Ignorant, Knowledge, Known
from tamiyo_trl.studies.demand.plans import NEVER, PlanTable, schedule, search
from tamiyo_trl.studies.demand.readings import FACTS, VIEWS, Log, Reader, Reading, fit_reading
from tamiyo_trl.studies.demand.scripts import Script, Wanderer
from tamiyo_trl.studies.demand.students import MEMORIES, Lessons, student_name, teach
from tamiyo_trl.studies.demand.table import Played, PlayedTable

Show = Callable[[int, int, str], None]
FIXED = "best fixed schedule"
CULLER, PLANTER, BOTH = "informed culler", "informed planter", "informed planter and culler"
INFORMED = (CULLER, PLANTER, BOTH)
BOUNDS = (NEVER, FIXED, *INFORMED)
READERS = {view: f"reads {'one observation' if view == 'one observation' else 'the episode so far'}" for view in VIEWS}
WAITS = (0, 2)  # first step of planting that readers may choose, on hosts of their own


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        tuning_hosts: Hosts each plan and each reader's first step is tried on.
        log_episodes: Episodes that readings are fitted on.
        hosts: Held-out hosts that every script meets.
        n_envs: Hosts in lockstep; divides each of the others.
        seed: Root seed of the tuning hosts; logs, waits, held-out hosts and lessons take the next four.
        kinds: Blueprints that plans are made of; none given takes all.
    """

    tuning_hosts: int = 32
    log_episodes: int = 160
    hosts: int = 96
    n_envs: int = 32
    seed: int = 900
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("tuning_hosts", "log_episodes", "hosts"):
            if getattr(self, name) < 1 or getattr(self, name) % self.n_envs:
                raise ConfigError(f"{name} must be a multiple of n_envs {self.n_envs}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Measured:
    """All that was measured of a world.

    Attributes:
        plans: Those that it allows.
        log: What readings were fitted on.
        readings: By (fact, view).
        played: The scripts' episodes.
        students: The students' episodes, on the same hosts.
    """

    plans: PlanTable
    log: Log
    readings: dict[tuple[str, str], Reading]
    played: PlayedTable
    students: PlayedTable


class Study:
    """One world's demand.

    Args:
        config: The world (see `worlds.make_world`).
        free: The world that plans are measured in (see `worlds.free_world`).
        sizes: How much to measure.
        lessons: How students are taught.
        folders: Where its own results go, and the plans that worlds of one family share.
        show: Told how many episodes are played, of how many, and what is played.
    """

    def __init__(
        self,
        config: GrowthConfig,
        free: GrowthConfig,
        sizes: Sizes,
        lessons: Lessons,
        folders: tuple[Path, Path],
        show: Show,
    ) -> None:
        self.config, self.free, self.sizes, self.lessons = config, free, sizes, lessons
        self.folder, plans = folders
        self._show, self._plans_path = show, plans / "plans.csv"
        self._done = 0

    def run(self) -> Measured:
        """Measure what is not measured yet; return everything."""
        keep = partial(self._kept, PlayedTable(self._plans_path), self.sizes.tuning_hosts, 0, config=self.free)
        table = search(self.free, self.sizes.kinds or self.config.blueprints, keep).within(self.config.max_kept)
        log = self._log(table)
        readings = {(fact, view): fit_reading(log, fact, VIEWS[view]) for fact in FACTS for view in VIEWS}
        played = PlayedTable(self.folder / "scripts.csv")
        for name in (*BOUNDS, *READERS.values()):
            self._kept(played, self.sizes.hosts, 3, name, self._controller(name, table, readings))
        return Measured(table, log, readings, played, self._students(table))

    def _students(self, table: PlanTable) -> PlayedTable:
        """Return the episodes of students of both memories, each taught by the script that knows both facts."""
        examined = PlayedTable(self.folder / "students.csv")
        script = Script(self.config, table, Known(self.config))
        for seed in range(self.lessons.seeds if self.lessons.episodes else 0):
            for memory in MEMORIES:
                name = student_name(memory, seed)
                if not examined.of(name):
                    self._show(self._done, self._done + self.lessons.episodes, f"teaching {name}")
                    env = GrowthEnv(self.config, self.sizes.n_envs, self.sizes.seed + 4)
                    student = teach(env, memory, script, self.lessons, seed)
                    self._done += self.lessons.episodes
                    self._examine(examined, name, student)
        return examined

    def _examine(self, table: PlayedTable, name: str, student: ActorCritic) -> None:
        """Play a student on the hosts that every script met."""
        hosts = self.sizes.hosts
        env = GrowthEnv(self.config, self.sizes.n_envs, self.sizes.seed + 3)
        self._show(self._done, self._done + hosts, name)
        table.add(name, evaluate(TransformedEnv(env, student.transforms()), student.policy, hosts))
        self._done += hosts

    def _controller(
        self, name: str, table: PlanTable, readings: dict[tuple[str, str], Reading]
    ) -> TensorDictModuleBase:
        """Return the script of this name."""
        config = self.config
        known, ignorant = Known(config), Ignorant(config)
        informed: dict[str, Knowledge] = {
            CULLER: Either(ignorant, known),
            PLANTER: Either(known, ignorant),
            BOTH: known,
        }
        if name == NEVER:
            return schedule(NEVER, config)
        if name == FIXED:
            return schedule(table.names[table.best], config)
        if name in informed:
            return Script(config, table, informed[name])
        view = next(view for view, reader in READERS.items() if reader == name)
        tried = PlayedTable(self.folder / "waits.csv")
        scores = {}
        for wait in WAITS:
            script = Script(config, table, self._reader(readings, view), wait)
            rows = self._kept(tried, self.sizes.tuning_hosts, 2, f"{name}, plants from step {wait}", script)
            scores[wait] = float(np.mean([row.final_accuracy for row in rows]))
        return Script(config, table, self._reader(readings, view), max(scores, key=lambda wait: scores[wait]))

    def _reader(self, readings: dict[tuple[str, str], Reading], view: str) -> Reader:
        return Reader(self.config, readings["deficit", view], readings["good seed", view])

    def _kept(
        self,
        table: PlayedTable,
        hosts: int,
        offset: int,
        name: str,
        controller: TensorDictModuleBase,
        config: GrowthConfig | None = None,
    ) -> Sequence[Played]:
        """Return the rows of a controller, played on the hosts of this seed unless the table has them."""
        if not table.of(name):
            self._show(self._done, self._done + hosts, name)
            env = GrowthEnv(config or self.config, self.sizes.n_envs, self.sizes.seed + offset)
            table.add(name, [Episode.read(steps) for steps in rollout_episodes(env, controller, hosts)])
            self._done += hosts
        return table.of(name)

    def _log(self, table: PlanTable) -> Log:
        """Return the logged episodes, from their file if it is there."""
        path = self.folder / "log.npz"
        if not path.exists():
            self._show(self._done, self._done + self.sizes.log_episodes, "logging")
            plans = table.plans(self.config)
            wanted = {table.best, *table.values.argmax(0).tolist()}
            choices = sorted({(item.site, item.blueprint) for number in wanted for item in plans[number]})
            env = GrowthEnv(self.config, self.sizes.n_envs, self.sizes.seed + 1)
            wanderer = Wanderer(self.config, choices, self.sizes.seed + 1)
            steps = rollout_episodes(env, wanderer, self.sizes.log_episodes)
            self._done += self.sizes.log_episodes
            dead = [n for n, name in enumerate(self.config.privileged_names) if name.startswith("dead share at ")]
            stages = np.stack([item[keys.INFO, "stage"].numpy() for item in steps])
            live = (stages >= 1) & (stages <= 3)
            age_at = [n for n, name in enumerate(self.config.privileged_names) if name.startswith("age at ")]
            shown = np.stack([item[keys.PRIVILEGED].numpy() for item in steps])
            age = np.rint((shown[..., age_at] * live).sum(-1) * self.config.episode_steps).astype(int)
            temporary = path.with_suffix(".tmp.npz")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(
                temporary,
                seen=np.stack([item[keys.OBSERVATION].numpy() for item in steps]),
                deficit=np.array([int(item["next", keys.INFO, "deficit"][-1]) for item in steps]),
                age=np.where(live.any(-1), age, -1),
                good=(shown[..., dead] * live).sum(-1) < BAD,
            )
            temporary.replace(path)
        with np.load(path) as found:
            return Log(**{name: found[name] for name in ("seen", "deficit", "age", "good")})
