"""Measure how much a world asks of memory, before anything is trained in it.

    python recipes/map_demand.py --world duds-keep1       # 8x8 digits: about ten minutes of one core
    python recipes/map_demand.py --world mixed            # where memory is worth little
    python recipes/map_demand.py --help                   # every world and setting

Everything goes to runs/demand/<world>/: README.md (the page), demand.png, and tidy tables. A stopped study goes on
where it was when it is called again; worlds of one family share the table of plans beside them.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from tamiyo_trl import cli
from tamiyo_trl.envs import GrowthConfig
from tamiyo_trl.errors import RunFolderError
from tamiyo_trl.files import write_json, write_rows
from tamiyo_trl.studies.demand.knowledge import BAD
from tamiyo_trl.studies.demand.measure import Sizes, Study
from tamiyo_trl.studies.demand.page import make_page
from tamiyo_trl.studies.demand.picture import draw_demand
from tamiyo_trl.studies.demand.readings import FOLDS
from tamiyo_trl.studies.demand.students import Lessons
from tamiyo_trl.studies.demand.summary import DEMAND_COLUMNS, READABILITY_COLUMNS, demand, demand_rows, readability
from tamiyo_trl.studies.demand.worlds import free_world, make_world

console = Console()
NAMES = {Sizes: "sizes", GrowthConfig: "env", Lessons: "lessons"}  # in the files of settings


@dataclass(frozen=True)
class Args:
    """Measure a world's demand on memory.

    Attributes:
        world: mixed, mixed-keep1, noisy, rare, duds, duds-keep1, duds-keep2 or duds-keep1-noisy.
        out: Folder of all worlds' results.
        threads: Intra-op threads; more than 1 is slower for hosts this small.
        sizes: How much to measure.
        lessons: How students are taught.
        env: What the world changes, and the observation that is read.
    """

    world: str = "duds-keep1"
    out: Path = Path("runs/demand")
    threads: int = 1
    sizes: Sizes = field(default_factory=Sizes)
    lessons: Lessons = field(default_factory=Lessons)
    env: GrowthConfig = field(default_factory=lambda: GrowthConfig(image_size=8, observation="minimal"))

    def __post_init__(self) -> None:
        make_world(self.world, self.env)

    @property
    def folder(self) -> Path:
        """Where this world's results go."""
        return self.out / self.world

    @property
    def config(self) -> GrowthConfig:
        """The world's settings."""
        return make_world(self.world, self.env)

    @property
    def free(self) -> GrowthConfig:
        """The world that its plans are measured in."""
        return free_world(self.world, self.env)

    @property
    def plans_folder(self) -> Path:
        """Where the plans go that worlds of one family share."""
        return self.out / f"plans-{self.config.family}"


def run(args: Args, argv: list[str]) -> None:
    """Measure what is missing, and report."""
    claim(args.folder / "settings.json", args.sizes, args.config)
    claim(args.plans_folder / "settings.json", args.sizes, args.free)
    if args.lessons.episodes:
        claim(args.folder / "lessons.json", args.lessons)
    measure(args, argv)


def claim(path: Path, *decisive: Sizes | GrowthConfig | Lessons) -> None:
    """Note what decides the numbers of a folder beside them, in a file of their own.

    Raises:
        RunFolderError: the folder holds a study of other settings.
    """
    wanted = json.loads(json.dumps({NAMES[type(item)]: dataclasses.asdict(item) for item in decisive}))
    if not path.exists():
        write_json(path, wanted)
    elif json.loads(path.read_text()) != wanted:
        raise RunFolderError(f"{path.parent} holds a study with other settings; choose another --out or remove it")


def measure(args: Args, argv: list[str]) -> None:
    """Measure what is missing, write the tables, the picture and the page, and show the page."""
    config = args.config
    with cli.progress_display(console, "episodes") as show:
        measured = Study(config, args.free, args.sizes, args.lessons, (args.folder, args.plans_folder), show).run()
    rows, found = readability(measured.log, measured.readings), demand(measured.played, measured.students)
    write_rows(args.folder / "readability.csv", rows, READABILITY_COLUMNS)
    write_rows(args.folder / "demand.csv", demand_rows(found, args.world, config.observation), DEMAND_COLUMNS)
    draw_demand(found, rows, f"{args.world}, {config.observation}", args.folder / "demand.png")
    told = {
        "world": args.world,
        "observation": config.observation,
        "command": shlex.join(["python", "recipes/map_demand.py", *argv]),
        "versions": ", ".join(f"{package} {version(package)}" for package in ("torch", "torchrl", "scikit-learn")),
        "folds": str(FOLDS),
        "bad": str(BAD),
    }
    page = make_page(found, rows, measured.plans, args.sizes, told)
    (args.folder / "README.md").write_text(page)
    console.print(Markdown(page))
    console.print(f"  {args.folder / 'README.md'}", soft_wrap=True)


STOPPED = "stopped; the same command goes on from here"
main = partial(cli.main, Args, run, __doc__, stopped=STOPPED)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
