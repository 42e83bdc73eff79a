"""The committed maps of effects are whole, of the worlds as they are now, and say what their numbers say."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tyro

from tamiyo_trl.studies.effects.file import read_measured
from tamiyo_trl.studies.effects.map import acceptance
from tamiyo_trl.studies.effects.tables import OVERVIEW, best_table, cull_table, overview_row

ROOT = Path(__file__).parents[2]
MAPS = ROOT / "docs" / "results" / "effects"
NAMES = sorted(path.parent.name for path in MAPS.glob("*/README.md"))


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("map_recipe_docs", ROOT / "recipes" / "map_effects.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_map_is_what_its_command_would_show(recipe, name):
    page = (MAPS / name / "README.md").read_text()
    (command,) = re.findall(r"^Made by `python recipes/map_effects.py ?(.*?)`", page, flags=re.M)
    args = tyro.cli(recipe.Args, args=shlex.split(command))
    assert args.folder == Path("docs/results/effects") / name
    args = dataclasses.replace(args, out=str(MAPS / name))
    recipe.prepare(args)  # the settings are those of the code: else RunFolderError
    effects = recipe.collect(args)
    for part in (best_table(effects), cull_table(effects)):
        assert part in page
    for claim, value, holds in acceptance(effects).claims:
        assert f"| {claim} | {value} | {'yes' if holds else 'NO'} |" in page
    overview = (MAPS / "README.md").read_text()
    size, task = args.env.image_size, args.env.task
    row = overview_row(effects, f"[{task} {size}x{size}]({name}/README.md)")
    assert row in overview, row
    assert OVERVIEW in overview, OVERVIEW
    measured = read_measured(MAPS / name)
    assert set(measured) == {(deficit, arm) for deficit in effects.deficits for arm in effects.arms}
    assert len({tuple(columns["host_seed"]) for columns in measured.values()}) == 1


def test_the_default_families_are_mapped():
    assert {f"mixed-{task}-{size}" for task in ("digits", "templates") for size in (8, 16)} <= set(NAMES)
