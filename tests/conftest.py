"""Settings every test runs under: one intra-op thread (two are slower on shared cores), a fixed hypothesis profile.

Tests of recipes and of studies train hosts, so all of them are marked slow; elsewhere a test says so itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile(
    "tamiyo", deadline=None, max_examples=30, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tamiyo")

HERE = Path(__file__).parent
SLOW_FOLDERS = (HERE / "recipes", HERE / "studies")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(folder in item.path.parents for folder in SLOW_FOLDERS):
            item.add_marker(pytest.mark.slow)
