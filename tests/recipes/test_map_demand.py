"""The demand study as a user meets it: what it writes, that it goes on where it stopped, what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tamiyo_trl.studies.demand import measure
from tamiyo_trl.studies.demand.measure import BOUNDS, READERS
from tests.recipes.loading import load_recipe

TOY = [
    *("--world", "duds-keep1", "--sizes.tuning-hosts", "8", "--sizes.log-episodes", "16", "--sizes.hosts", "8"),
    *("--sizes.n-envs", "8", "--env.image-size", "8", "--env.episode-steps", "10", "--env.observation", "minimal"),
    *("--env.training.images-per-step", "32", "--env.splits.train", "64", "--env.splits.val", "16"),
    *("--env.splits.test", "32", "--env.splits.reward", "16", "--env.blueprints", "norm", "wide", "--env.sites", "0"),
]
